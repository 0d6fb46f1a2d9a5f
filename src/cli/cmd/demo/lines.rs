//! Lines into batches of a bounded size.

/// So many batches at least, where there are enough lines.
const BATCHES: usize = 72;
/// Most lines in a batch.
const LINES_MAX: usize = 1000;
/// A batch ends when it is over this size in bytes; longer lines are cut between words.
const BYTES_MAX: usize = 32 << 10;

/// Cuts the lines into batches.
pub(super) fn batches(lines: &[String]) -> Vec<Vec<&str>> {
    let lines_max = (lines.len() / BATCHES).clamp(1, LINES_MAX);
    let mut batches = Vec::new();
    let mut batch = Vec::new();
    let mut bytes = 0;
    for piece in lines.iter().flat_map(|line| pieces(line)) {
        bytes += piece.len();
        batch.push(piece);
        if batch.len() >= lines_max || bytes >= BYTES_MAX {
            batches.push(std::mem::take(&mut batch));
            bytes = 0;
        }
    }
    if !batch.is_empty() {
        batches.push(batch);
    }
    batches
}

/// A line, in pieces if it is long. No piece ends within a word.
fn pieces(line: &str) -> Vec<&str> {
    let mut pieces = Vec::new();
    let mut rest = line;
    while rest.len() > BYTES_MAX {
        let between = |(at, c): (usize, char)| (at >= BYTES_MAX && c.is_whitespace()).then_some(at);
        let Some((piece, tail)) = rest
            .char_indices()
            .find_map(between)
            .and_then(|at| rest.split_at_checked(at))
        else {
            break;
        };
        pieces.push(piece);
        rest = tail;
    }
    pieces.push(rest);
    pieces
}

#[cfg(test)]
mod tests {
    #![allow(clippy::indexing_slicing)]
    use super::super::words;
    use super::*;

    #[test]
    fn batches_have_all_words_and_stay_small() {
        let mut lines: Vec<String> = (0..500).map(|n| format!("line {n} of many")).collect();
        lines.push("long words ".repeat(20_000));
        let cut = batches(&lines);
        assert!(cut.len() >= BATCHES);
        let mut total = words::Counts::new();
        for batch in &cut {
            let bytes: usize = batch.iter().map(|line| line.len()).sum();
            assert!(bytes < 2 * BYTES_MAX + 10 && batch.len() <= LINES_MAX);
            words::add(&mut total, words::count(batch.iter().copied()));
        }
        assert_eq!(total, words::count(lines.iter().map(String::as_str)));
        assert_eq!(batches(&["one".to_string()]), [["one"]]);
        assert!(batches(&[]).is_empty());
    }
}
