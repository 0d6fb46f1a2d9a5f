//! What users hold.
