//! How CBOR is written, and what only a message in CBOR can have done to it.

use std::borrow::Cow;

use super::{
    super::{
        form::Form,
        write::{Kept, Open, SeqWriter, Writer},
    },
    head,
};
use crate::proto::{
    limits::Limits,
    value::{EncodeError, Int},
};

/// CBOR, in its preferred serialisation.
#[derive(Default)]
pub(crate) struct Cbor;

fn kind(is_map: bool) -> u8 {
    if is_map { head::MAP } else { head::LIST }
}

impl Form for Cbor {
    #[inline]
    fn size(&self, out: &[u8]) -> usize {
        out.len()
    }
    #[inline]
    fn null(&mut self, out: &mut Vec<u8>) {
        out.push(0xf6);
    }
    #[inline]
    fn bool(&mut self, out: &mut Vec<u8>, it: bool) {
        out.push(if it { 0xf5 } else { 0xf4 });
    }
    #[inline]
    fn int(&mut self, out: &mut Vec<u8>, n: Int) {
        head::put_int(out, n);
    }
    #[inline]
    fn float(&mut self, out: &mut Vec<u8>, it: f64) {
        head::put_float(out, it);
    }
    #[inline]
    fn text(&mut self, out: &mut Vec<u8>, text: &str) {
        head::put(out, head::TEXT, text.len() as u64);
        out.extend_from_slice(text.as_bytes());
    }
    #[inline]
    fn bytes(&mut self, out: &mut Vec<u8>, bytes: &[u8]) {
        head::put(out, head::BYTES, bytes.len() as u64);
        out.extend_from_slice(bytes);
    }
    #[inline]
    fn open_list(&mut self, out: &mut Vec<u8>, declared: u64) {
        head::put(out, head::LIST, declared);
    }
    #[inline]
    fn open_map(&mut self, out: &mut Vec<u8>, declared: u64) {
        head::put(out, head::MAP, declared);
    }
    #[inline]
    fn separate(&mut self, _out: &mut Vec<u8>, _behind: u64) {}
    #[inline]
    fn after_key(&mut self, _out: &mut Vec<u8>) {}
    #[inline]
    fn close(&mut self, out: &mut Vec<u8>, open: &Open) -> Option<(usize, isize)> {
        if open.count == open.declared {
            return None;
        }
        let mut right = Vec::with_capacity(9);
        head::put(&mut right, kind(open.is_map), open.count);
        let wrong = open.at..open.at + head::len(open.declared);
        let more = right.len() as isize - wrong.len() as isize;
        out.splice(wrong.clone(), right);
        Some((wrong.end, more))
    }
}

impl Writer {
    /// As [`Self::new`]; long bytes that are handed over are kept, not copied.
    pub(crate) fn keeping(out: Vec<u8>, limits: &Limits) -> Self {
        let mut writer = Self::new(out, limits);
        writer.kept = Some(Vec::new());
        writer
    }
    /// What was written with no bytes where some were kept: as good for checking all else.
    pub(crate) fn without_kept(&self) -> Cow<'_, [u8]> {
        let kept = self.kept.as_deref().unwrap_or_default();
        if kept.is_empty() {
            return Cow::Borrowed(&self.out);
        }
        let mut out = Vec::with_capacity(self.out.len());
        let mut from = 0;
        for Kept { at, bytes } in kept {
            let head = at.saturating_sub(head::len(bytes.len() as u64));
            out.extend_from_slice(self.out.get(from..head).unwrap_or_default());
            head::put(&mut out, head::BYTES, 0);
            from = *at;
        }
        out.extend_from_slice(self.out.get(from..).unwrap_or_default());
        Cow::Owned(out)
    }
    /// Appends a text to the list that is all that was written; the text is in parts. `false`: the head of the list has no
    /// room for one more, and nothing was done.
    pub(crate) fn append_text(&mut self, parts: [&str; 3]) -> Result<bool, EncodeError> {
        let Some(head) = self
            .out
            .first_mut()
            .filter(|head| head::is_short_list(**head))
        else {
            return Ok(false);
        };
        *head += 1;
        self.budget.count()?;
        let len = parts.iter().map(|part| part.len()).sum();
        self.check_size(len)?;
        head::put(&mut self.out, head::TEXT, len as u64);
        for part in parts {
            self.out.extend_from_slice(part.as_bytes());
        }
        Ok(true)
    }
}

impl SeqWriter<'_> {
    /// Values that are encoded and checked already: how many, and how many they hold with what is inside them. `kept`:
    /// what is kept of them, at places that are `before` too far.
    pub(crate) fn encoded(
        &mut self,
        bytes: &[u8],
        len: u64,
        counted: usize,
        kept: &[Kept],
        before: usize,
    ) -> Result<(), EncodeError> {
        self.open.count += len;
        self.writer.budget.count_many(counted)?;
        let more = kept.iter().map(|kept| kept.bytes.len()).sum::<usize>();
        self.writer.check_size(bytes.len().saturating_add(more))?;
        let start = self.writer.out.len();
        self.writer.out.extend_from_slice(bytes);
        for kept in kept {
            let at = start + kept.at.saturating_sub(before);
            self.writer.keep_at(at, kept.bytes.clone());
        }
        Ok(())
    }
}
