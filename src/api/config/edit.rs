//! Changes in the text of a configuration file that leave every other byte as it was.

use std::{collections::BTreeMap, ops::Range};

use toml_edit::{
    Array, Document, DocumentMut, Item, Key, RawString, Table, TableLike, TomlError, Value,
};

/// Sets a key, in a table that is made where there is none. `path`: the tables, then the key.
pub(crate) fn set(text: &str, path: &[&str], value: &Value) -> Result<String, TomlError> {
    let plain = value;
    let value = plain.clone().decorated("", "");
    let document = Document::parse(text)?;
    let root = document.as_table();
    let candidate = match find(root, path).and_then(|(_, item)| item.span()) {
        Some(span) => splice(text, span, &value.to_string()),
        None => insert(text, root, path, &value),
    };
    if let Some(candidate) = candidate
        && is_so(text, &candidate, path, Some(&value))
    {
        return Ok(candidate);
    }
    // within braces, or beside dotted keys
    let mut document: DocumentMut = text.parse()?;
    let Some((key, tables)) = path.split_last() else {
        return Ok(text.to_owned());
    };
    let mut at: &mut dyn TableLike = document.as_table_mut();
    for table in tables {
        let made = || {
            let mut made = Table::new();
            made.set_implicit(true);
            Item::Table(made)
        };
        let Some(next) = at.entry(table).or_insert_with(made).as_table_like_mut() else {
            return Ok(text.to_owned());
        };
        at = next;
    }
    match at.get_mut(key).and_then(Item::as_value_mut) {
        Some(old) => {
            let decor = old.decor().clone();
            *old = value;
            *old.decor_mut() = decor;
        }
        None => _ = at.insert(key, Item::Value(plain.clone())),
    }
    Ok(document.to_string())
}

/// Removes a key with the rest of its line; the comments around it stay. The table stays too, empty or not. `None`: there
/// is no such key.
pub(crate) fn unset(text: &str, path: &[&str]) -> Result<Option<String>, TomlError> {
    let document = Document::parse(text)?;
    let Some((key, item)) = find(document.as_table(), path) else {
        return Ok(None);
    };
    if let (Some(key), Some(value)) = (key.span(), item.span()) {
        let begin = text.get(..key.start).and_then(|before| before.rfind('\n'));
        let lines = begin.map_or(0, |at| at + 1)..line_end(text, value.end);
        if let Some(candidate) = splice(text, lines, "")
            && is_so(text, &candidate, path, None)
        {
            return Ok(Some(candidate));
        }
    }
    Ok(Some(remove(text, path)?))
}

/// Adds elements to a list, or takes them out, and makes the list where there is none. What is there already, or is not
/// there, is left alone.
pub(crate) fn change_list(
    text: &str,
    path: &[&str],
    elements: &[Value],
    add: bool,
) -> Result<String, TomlError> {
    let mut document: DocumentMut = text.parse()?;
    let mut item: Option<&mut Item> = Some(document.as_item_mut());
    for name in path {
        item = item.and_then(|item| item.get_mut(name));
    }
    let mut array = match item.and_then(|item| item.as_value_mut()) {
        Some(Value::Array(array)) => std::mem::take(array),
        Some(one) => Array::from_iter([one.clone().decorated("", "")]),
        None if add => Array::new(),
        None => return Ok(text.to_owned()),
    };
    for element in elements {
        let same = |other: &Value| canonical(other) == canonical(element);
        let at = array.iter().position(same);
        match (add, at) {
            (true, None) => push(&mut array, element.clone()),
            (false, Some(at)) => take(&mut array, at),
            _ => {}
        }
    }
    // as it is written now, with the comments in it
    let value = Value::Array(array).decorated("", "");
    let spelled = value.to_string();
    let span = find(Document::parse(text)?.as_table(), path).and_then(|(_, item)| item.span());
    if let Some(candidate) = span.and_then(|span| splice(text, span, &spelled))
        && is_so(text, &candidate, path, Some(&value))
    {
        return Ok(candidate);
    }
    set(text, path, &value)
}

/// On a line of its own where the last one is.
fn push(array: &mut Array, element: Value) {
    let last = array.iter().last().map(|last| raw(last.decor().prefix()));
    let indent = last
        .as_deref()
        .and_then(|prefix| Some(prefix.get(prefix.rfind('\n')?..)?.to_owned()));
    match indent {
        Some(indent) => array.push_formatted(element.decorated(indent, "")),
        None => array.push(element),
    }
}

/// The comments before the element stay: they are those of the one before it, or of the list.
fn take(array: &mut Array, at: usize) {
    let taken = array.remove(at);
    let prefix = raw(taken.decor().prefix());
    let first = at == 0 && !prefix.contains('#');
    match array.get_mut(at) {
        Some(next) if first => next.decor_mut().set_prefix(prefix),
        Some(next) if prefix.contains('#') => {
            let own = raw(next.decor().prefix());
            next.decor_mut()
                .set_prefix(format!("{}{own}", prefix.trim_end()));
        }
        None if prefix.contains('#') => {
            let own = raw(Some(array.trailing()));
            array.set_trailing(format!("{}{own}", prefix.trim_end()));
        }
        _ => {}
    }
}

fn raw(text: Option<&RawString>) -> String {
    text.and_then(RawString::as_str)
        .unwrap_or_default()
        .to_owned()
}

/// Removes a table with all that is in it, also when that stands in several places. What stands before its header or behind
/// its last key stays.
pub(crate) fn remove(text: &str, path: &[&str]) -> Result<String, TomlError> {
    let document = Document::parse(text)?;
    let mut spans = Vec::new();
    if let Some((_, item)) = find(document.as_table(), path) {
        headed(text, item, &mut spans);
    }
    spans.sort_by_key(|span| std::cmp::Reverse(span.start));
    let without = |text: String, span: &Range<usize>| splice(&text, span.clone(), "");
    let candidate = spans.iter().try_fold(text.to_owned(), without);
    if let Some(candidate) = candidate
        && let (Some(mut before), Some(after)) = (all(text), all(&candidate))
    {
        before.retain(|key, _| !key.iter().take(path.len()).eq(path));
        if before == after && !spans.is_empty() {
            return Ok(candidate);
        }
    }
    let mut document: DocumentMut = text.parse()?;
    let Some((key, tables)) = path.split_last() else {
        return Ok(text.to_owned());
    };
    let mut at: Option<&mut dyn TableLike> = Some(document.as_table_mut());
    for table in tables {
        at = at.and_then(|at| at.get_mut(table)?.as_table_like_mut());
    }
    if let Some(at) = at {
        at.remove(key);
    }
    Ok(document.to_string())
}

/// The lines of each table that has a header, from that to the last key, and an empty one before it.
fn headed(text: &str, item: &Item, spans: &mut Vec<Range<usize>>) {
    let Item::Table(table) = item else { return };
    if let Some(span) = table
        .span()
        .filter(|_| !table.is_implicit() && !table.is_dotted())
    {
        let before = text.get(..span.start).unwrap_or_default();
        let begin = before.rfind('\n').map_or(0, |at| at + 1);
        let empty = before
            .get(..begin)
            .is_some_and(|before| before.ends_with("\n\n"));
        let end = line_end(text, last_value(table).unwrap_or(span.start));
        spans.push(begin - usize::from(empty)..end);
    }
    for (_, item) in table.iter() {
        headed(text, item, spans);
    }
}

fn find<'a>(root: &'a dyn TableLike, path: &[&str]) -> Option<(&'a Key, &'a Item)> {
    let (key, tables) = path.split_last()?;
    table(root, tables)?.get_key_value(key)
}

fn table<'a>(root: &'a dyn TableLike, path: &[&str]) -> Option<&'a dyn TableLike> {
    path.iter()
        .try_fold(root, |at, name| at.get(name)?.as_table_like())
}

/// The text with a line more; `None`: it has to be done otherwise.
fn insert(text: &str, root: &Table, path: &[&str], value: &Value) -> Option<String> {
    let (key, tables) = path.split_last()?;
    let newline = if text.contains("\r\n") { "\r\n" } else { "\n" };
    let line = format!("{} = {value}{newline}", Key::new(*key));
    let named = tables
        .iter()
        .try_fold(root, |at, name| at.get(name)?.as_table());
    match named.filter(|table| tables.is_empty() || !table.is_implicit() && !table.is_dotted()) {
        Some(table) => {
            let header = table.span().filter(|_| !tables.is_empty());
            let last = last_value(table);
            match last.or(header.map(|span| span.start)) {
                Some(at) => splice_line(text, line_end(text, at), &line, newline),
                // a file of tables alone: above them
                None if text.is_empty() => Some(line),
                None => Some(format!("{line}{newline}{text}")),
            }
        }
        None => {
            let header: Vec<String> = tables
                .iter()
                .map(|name| Key::new(*name).to_string())
                .collect();
            let gap = if text.trim().is_empty() { "" } else { newline };
            let block = format!("{gap}[{}]{newline}{line}", header.join("."));
            splice_line(text, text.len(), &block, newline)
        }
    }
}

/// Where the last value ends that stands right below the table's header.
fn last_value(table: &dyn TableLike) -> Option<usize> {
    let ends = table.iter().filter_map(|(_, item)| match item {
        Item::Value(value) => value.span().map(|span| span.end),
        Item::Table(table) if table.is_dotted() => last_value(table),
        _ => None,
    });
    ends.max()
}

/// Behind the line in which that byte is.
fn line_end(text: &str, at: usize) -> usize {
    let rest = text.get(at..).and_then(|rest| rest.find('\n'));
    rest.map_or(text.len(), |end| at + end + 1)
}

fn splice(text: &str, span: Range<usize>, new: &str) -> Option<String> {
    Some(format!(
        "{}{new}{}",
        text.get(..span.start)?,
        text.get(span.end..)?
    ))
}

/// Lines at the beginning of a line, or at the end of a text that may lack its last line's end.
fn splice_line(text: &str, at: usize, lines: &str, newline: &str) -> Option<String> {
    let before = text.get(..at)?;
    let end = match before.is_empty() || before.ends_with('\n') {
        true => "",
        false => newline,
    };
    Some(format!("{before}{end}{lines}{}", text.get(at..)?))
}

/// Whether the candidate has that value there and otherwise all that the text had.
fn is_so(text: &str, candidate: &str, path: &[&str], value: Option<&Value>) -> bool {
    let (Some(mut before), Some(after)) = (all(text), all(candidate)) else {
        return false;
    };
    let path: Vec<String> = path.iter().map(ToString::to_string).collect();
    match value {
        Some(value) => _ = before.insert(path, canonical(value)),
        None => _ = before.remove(&path),
    }
    before == after
}

/// Every value that a text has, by its path.
fn all(text: &str) -> Option<BTreeMap<Vec<String>, String>> {
    let document = Document::parse(text).ok()?;
    let mut values = BTreeMap::new();
    collect(document.as_table(), &[], &mut values);
    Some(values)
}

fn collect(table: &dyn TableLike, at: &[String], values: &mut BTreeMap<Vec<String>, String>) {
    for (key, item) in table.iter() {
        let path = [at, &[key.to_owned()]].concat();
        match (item.as_table_like(), item.as_value()) {
            (Some(table), _) => collect(table, &path, values),
            (None, Some(value)) => _ = values.insert(path, canonical(value)),
            // there is none in a configuration
            (None, None) => {}
        }
    }
}

/// The value without the way in which it is written.
fn canonical(value: &Value) -> String {
    match value {
        Value::String(text) => format!("{:?}", text.value()),
        Value::Integer(number) => number.value().to_string(),
        Value::Float(number) => format!("{:?}", number.value()),
        Value::Boolean(flag) => flag.value().to_string(),
        Value::Datetime(time) => time.value().to_string(),
        Value::Array(array) => {
            let parts: Vec<String> = array.iter().map(canonical).collect();
            format!("[{}]", parts.join(","))
        }
        Value::InlineTable(table) => {
            let parts = table
                .iter()
                .map(|(key, value)| format!("{key:?}={}", canonical(value)));
            format!("{{{}}}", parts.collect::<Vec<_>>().join(","))
        }
    }
}
