//! What differs between the formats that serde types are written in directly.

use super::write::Open;
use crate::proto::value::Int;

/// How values are written in one format. What stands around them, and all rules of what a message may hold, are the
/// [`Writer`](super::write::Writer)'s.
pub(crate) trait Form: Default {
    /// How long the CBOR form of what was written is so far: all limits are by that.
    fn size(&self, out: &[u8]) -> usize;
    fn null(&mut self, out: &mut Vec<u8>);
    fn bool(&mut self, out: &mut Vec<u8>, it: bool);
    fn int(&mut self, out: &mut Vec<u8>, n: Int);
    /// A finite one.
    fn float(&mut self, out: &mut Vec<u8>, it: f64);
    fn text(&mut self, out: &mut Vec<u8>, text: &str);
    fn bytes(&mut self, out: &mut Vec<u8>, bytes: &[u8]);
    /// A list begins.
    fn open_list(&mut self, out: &mut Vec<u8>, declared: u64);
    /// A map begins.
    fn open_map(&mut self, out: &mut Vec<u8>, declared: u64);
    /// Another element comes, or a key with its value, behind so many.
    fn separate(&mut self, out: &mut Vec<u8>, behind: u64);
    /// A key was written, its value comes.
    fn after_key(&mut self, out: &mut Vec<u8>);
    /// A list or a map ends. Where it began with more or fewer bytes than it has now: where they end, and how many more they are.
    fn close(&mut self, out: &mut Vec<u8>, open: &Open) -> Option<(usize, isize)>;
}
