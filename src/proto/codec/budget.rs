//! What one message may still hold while it is read or written: depth and number of values.

use std::fmt;

use crate::proto::{
    limits::Limits,
    value::{DecodeError, Value},
};

/// The deepest nesting that any format accepts, whatever [`Limits::depth_max`] says: decoding recurses.
pub const DEPTH_CEILING: usize = 128;

/// Counts what one message holds against [`Limits::depth_max`] and [`Limits::values_max`].
///
/// For those who write a format: call [`count`](Budget::count) for every value and every key of a map, the message's
/// own list included, and [`enter`](Budget::enter) and [`leave`](Budget::leave) around what lists and maps hold. So
/// `["a",{"k":1}]` counts five, and is two deep.
#[derive(Debug, Default)]
pub struct Budget {
    depth_left: usize,
    values_left: usize,
}

/// More than a message may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum OverBudget {
    /// Over [`Limits::depth_max`] or [`DEPTH_CEILING`].
    Depth,
    /// Over [`Limits::values_max`].
    Values,
}

impl Budget {
    /// All that the limits allow.
    pub fn new(limits: &Limits) -> Self {
        Budget {
            depth_left: limits.depth_max.min(DEPTH_CEILING),
            values_left: limits.values_max,
        }
    }
    /// For what was counted before: only so deep that reading it can recurse.
    pub(crate) fn unlimited() -> Self {
        Budget {
            depth_left: DEPTH_CEILING,
            values_left: usize::MAX,
        }
    }
    /// One value or key more.
    pub fn count(&mut self) -> Result<(), OverBudget> {
        self.values_left = self.values_left.checked_sub(1).ok_or(OverBudget::Values)?;
        Ok(())
    }
    pub(crate) fn count_many(&mut self, n: usize) -> Result<(), OverBudget> {
        self.values_left = self.values_left.checked_sub(n).ok_or(OverBudget::Values)?;
        Ok(())
    }
    /// A list or a map begins.
    pub fn enter(&mut self) -> Result<(), OverBudget> {
        self.depth_left = self.depth_left.checked_sub(1).ok_or(OverBudget::Depth)?;
        Ok(())
    }
    /// A list or a map ends.
    pub fn leave(&mut self) {
        self.depth_left = self.depth_left.saturating_add(1);
    }
    /// How many values may still come.
    pub fn values_left(&self) -> usize {
        self.values_left
    }
    /// Counts a value and all that it holds, and refuses floats that are not finite.
    pub(crate) fn count_value(&mut self, value: &Value) -> Result<(), DecodeError> {
        self.count()?;
        match value {
            Value::Float(it) if !it.is_finite() => Err(not_finite()),
            Value::List(list) => self.count_list(list),
            Value::Map(map) => {
                self.enter()?;
                for value in map.values() {
                    self.count()?;
                    self.count_value(value)?;
                }
                self.leave();
                Ok(())
            }
            _ => Ok(()),
        }
    }
    /// Counts what a list holds.
    pub(crate) fn count_list(&mut self, list: &[Value]) -> Result<(), DecodeError> {
        self.enter()?;
        for value in list {
            self.count_value(value)?;
        }
        self.leave();
        Ok(())
    }
}

/// The refusal of NaN and the infinities.
pub(crate) fn not_finite() -> DecodeError {
    DecodeError::new("NaN and infinities are not values")
}

impl fmt::Display for OverBudget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            OverBudget::Depth => "nested too deep",
            OverBudget::Values => "too many values",
        })
    }
}

impl std::error::Error for OverBudget {}

impl From<OverBudget> for DecodeError {
    fn from(it: OverBudget) -> Self {
        DecodeError::new(it)
    }
}

impl From<OverBudget> for crate::proto::value::EncodeError {
    fn from(it: OverBudget) -> Self {
        crate::proto::value::EncodeError::not_encodable(it)
    }
}
