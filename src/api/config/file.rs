//! One configuration file: read whole, checked whole, with the place of everything in it.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read},
    ops::Range,
    path::{Path, PathBuf},
};

use toml_edit::{Document, Item, TableLike};

use super::{
    error::{ConfigError, ConfigFault, ConfigOrigin},
    keys::{self, Key},
    value::{self, Setting},
};
use crate::transport::tls::files::{self, Access, FileError};

/// Larger is not a configuration.
const BYTES_MAX: u64 = 1 << 20;

/// A file as it was read.
#[derive(Debug, Default)]
pub(crate) struct ConfigFile {
    pub(crate) path: PathBuf,
    /// What stands outside of the profiles.
    pub(crate) top: Entries,
    pub(crate) profiles: BTreeMap<String, Profile>,
}

/// Keys with their values and where they stand.
pub(crate) type Entries = BTreeMap<&'static str, (Setting, ConfigOrigin)>;

/// A `[profile.NAME]`.
#[derive(Debug, Default)]
pub(crate) struct Profile {
    pub(crate) entries: Entries,
    pub(crate) parent: Option<(String, ConfigOrigin)>,
}

/// The text of a file; `None`: there is no such file.
pub(crate) fn text(path: &Path) -> Result<Option<String>, ConfigError> {
    let failed = |source| ConfigError::Read {
        path: path.to_owned(),
        source,
    };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            return Ok(None);
        }
        Err(error) => return Err(failed(error)),
    };
    let mut bytes = Vec::new();
    file.take(BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    if bytes.len() as u64 > BYTES_MAX {
        let text = format!("it is larger than {BYTES_MAX} bytes: this is not a configuration");
        return Err(failed(io::Error::new(io::ErrorKind::InvalidData, text)));
    }
    match String::from_utf8(bytes) {
        Ok(text) => Ok(Some(text)),
        Err(_) => Err(failed(io::Error::new(
            io::ErrorKind::InvalidData,
            "it is not text",
        ))),
    }
}

/// Writes a file whole, or not at all. One that is there keeps its mode, and a link to it stays one.
pub(crate) fn write(path: &Path, text: &str) -> Result<(), ConfigError> {
    let failed = |source| ConfigError::Write {
        path: path.to_owned(),
        source,
    };
    let (place, access) = match path.canonicalize() {
        Ok(place) => {
            let access = mode(&place).map_err(failed)?;
            (place, access)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            if let Some(folder) = path.parent() {
                std::fs::create_dir_all(folder).map_err(failed)?;
            }
            (path.to_owned(), Access::Public)
        }
        Err(error) => return Err(failed(error)),
    };
    files::write(&place, text.as_bytes(), access, true).map_err(|error| match error {
        FileError::Write { source, .. } => failed(source),
        other => failed(io::Error::other(other)),
    })
}

#[cfg(unix)]
fn mode(path: &Path) -> io::Result<Access> {
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::metadata(path)?.permissions().mode();
    Ok(Access::Mode(mode & 0o7777))
}

#[cfg(not(unix))]
fn mode(_: &Path) -> io::Result<Access> {
    Ok(Access::Public)
}

impl ConfigFile {
    /// Reads and checks a file; `None`: there is none.
    pub(crate) fn read(path: &Path) -> Result<Option<Self>, ConfigError> {
        match text(path)? {
            Some(text) => Self::parse(path, &text).map(Some),
            None => Ok(None),
        }
    }

    /// Checks the text of a file.
    pub(crate) fn parse(path: &Path, text: &str) -> Result<Self, ConfigError> {
        let mut reader = Reader {
            path,
            text,
            faults: Vec::new(),
        };
        let document = match Document::parse(text) {
            Ok(document) => document,
            Err(error) => {
                // the parser's message says several things, one a line
                let message = error.message().trim().replace('\n', ", ");
                reader.fault(error.span(), message);
                return Err(ConfigError::Wrong(reader.faults));
            }
        };
        let file = reader.file(document.as_table());
        match reader.faults.is_empty() {
            true => Ok(file),
            false => Err(ConfigError::Wrong(reader.faults)),
        }
    }
}

/// Where a byte of the text is: line and character, from 1.
fn place(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..at).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let last = before.rsplit('\n').next().unwrap_or_default();
    (line, last.chars().count() + 1)
}

struct Reader<'a> {
    path: &'a Path,
    text: &'a str,
    faults: Vec<ConfigFault>,
}

impl Reader<'_> {
    fn origin(&self, span: Option<Range<usize>>) -> ConfigOrigin {
        let (line, column) = place(self.text, span.map_or(0, |span| span.start));
        ConfigOrigin::File {
            path: self.path.to_owned(),
            line,
            column,
        }
    }

    fn fault(&mut self, span: Option<Range<usize>>, text: impl Into<String>) {
        self.faults.push(ConfigFault {
            origin: self.origin(span),
            text: text.into(),
        });
    }

    fn file(&mut self, root: &dyn TableLike) -> ConfigFile {
        let mut file = ConfigFile {
            path: self.path.to_owned(),
            ..ConfigFile::default()
        };
        for (name, item) in root.iter() {
            match name {
                "profile" => self.profiles(root, item, &mut file.profiles),
                "parent" => self.fault(
                    key_span(root, name),
                    "parent belongs into a profile: what is outside of all profiles holds for each",
                ),
                _ => self.entry(root, name, item, &mut file.top),
            }
        }
        file
    }

    fn profiles(
        &mut self,
        root: &dyn TableLike,
        item: &Item,
        profiles: &mut BTreeMap<String, Profile>,
    ) {
        let Some(table) = item.as_table_like() else {
            let span = item.span().or_else(|| key_span(root, "profile"));
            return self.fault(span, "profile is a table of tables: write [profile.NAME]");
        };
        for (name, item) in table.iter() {
            let Some(entries) = item.as_table_like() else {
                let text = format!("profile.{name} is to be a table: write [profile.NAME]");
                self.fault(item.span().or_else(|| key_span(table, name)), text);
                continue;
            };
            let mut profile = Profile::default();
            for (key, item) in entries.iter() {
                match (key, item.as_str()) {
                    ("parent", Some(parent)) => {
                        profile.parent = Some((parent.to_owned(), self.origin(item.span())));
                    }
                    ("parent", None) => {
                        self.fault(item.span(), "parent is to be the name of a profile in quotes");
                    }
                    ("profile", _) => self.fault(
                        key_span(entries, key),
                        "there are no profiles within profiles: parent = \"NAME\" builds one on another",
                    ),
                    _ => self.entry(entries, key, item, &mut profile.entries),
                }
            }
            profiles.insert(name.to_owned(), profile);
        }
    }

    fn entry(&mut self, table: &dyn TableLike, name: &str, item: &Item, entries: &mut Entries) {
        if name == "limits" {
            let Some(limits) = item.as_table_like() else {
                let span = item.span().or_else(|| key_span(table, name));
                return self.fault(span, "limits is to be a table: write [limits]");
            };
            for (field, item) in limits.iter() {
                match keys::find(&format!("limits.{field}")) {
                    Some(key) => self.value(limits, field, key, item, entries),
                    None => {
                        self.fault(
                            key_span(limits, field),
                            keys::unknown(field, Some("limits")),
                        );
                    }
                }
            }
            return;
        }
        // a limit has a dot in its name, which only a quoted key can have
        match keys::find(name).filter(|key| !key.name.contains('.')) {
            Some(key) => self.value(table, name, key, item, entries),
            None => self.fault(key_span(table, name), keys::unknown(name, None)),
        }
    }

    fn value(
        &mut self,
        table: &dyn TableLike,
        name: &str,
        key: &'static Key,
        item: &Item,
        entries: &mut Entries,
    ) {
        let key_span = key_span(table, name);
        let Some(value) = item.as_value() else {
            let text = format!("{} is to be {}, not a table", key.name, key.kind.wanted());
            return self.fault(key_span, text);
        };
        match value::read(key, value) {
            Ok(setting) => match self.beside(setting) {
                Some(setting) => {
                    entries.insert(key.name, (setting, self.origin(key_span)));
                }
                None => self.fault(
                    value.span(),
                    format!(
                        "{}: the standard input can be named by the flag only",
                        key.name
                    ),
                ),
            },
            Err(wrong) => self.fault(wrong.span.or(key_span), wrong.text),
        }
    }

    /// A file's name is meant from where this file is. `None`: it is the standard input.
    fn beside(&self, setting: Setting) -> Option<Setting> {
        let folder = self.path.parent().unwrap_or(Path::new(""));
        match setting {
            Setting::Path(path) if path == Path::new("-") => None,
            Setting::Path(path) => Some(Setting::Path(folder.join(path))),
            setting => Some(setting),
        }
    }
}

fn key_span(table: &dyn TableLike, name: &str) -> Option<Range<usize>> {
    table.key(name).and_then(toml_edit::Key::span)
}
