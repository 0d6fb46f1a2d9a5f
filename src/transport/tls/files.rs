//! Files with keys and secrets: read only when nobody else can read them, written whole or not at all.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use zeroize::Zeroizing;

/// Why a file with a key, a certificate or a secret cannot be used. Says what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// It cannot be opened or read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It cannot be written. What was there before is untouched.
    #[error("cannot write {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Others than its owner may read or write it.
    #[error("{0} can be read or changed by others than its owner (mode {1:04o}): run `chmod 600 {0}`", path.display(), mode)]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It is too large to be what it should be.
    #[error("{} is larger than {max} bytes: this is not the right file", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The limit.
        max: u64,
    },
    /// It exists already; it is not overwritten unless that is asked for.
    #[error("{} exists already and is not overwritten", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
}

/// Who may read a file that is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// Mode 0600.
    Private,
    /// Mode 0644.
    Public,
    /// This mode, and the owner and the group of what is replaced: the same file with something else in it.
    #[cfg_attr(not(feature = "config"), allow(dead_code))]
    Mode(u32),
}

/// Reads a text file of at most `max` bytes. With `Access::Private` the open file must belong to its reader alone.
pub(super) fn read(path: &Path, max: u64, access: Access) -> Result<Zeroizing<String>, FileError> {
    let failed = |source| FileError::Read {
        path: path.to_owned(),
        source,
    };
    let file = File::open(path).map_err(failed)?;
    if access == Access::Private {
        check_private(&file, path)?;
    }
    // With room for all at once, so that no copy is left behind by growing.
    let size = file.metadata().map_err(failed)?.len().min(max) as usize;
    let mut bytes = Zeroizing::new(Vec::with_capacity(size + 1));
    (&file)
        .take(max + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    if bytes.len() as u64 > max {
        return Err(FileError::TooLarge {
            path: path.to_owned(),
            max,
        });
    }
    let text = std::str::from_utf8(&bytes)
        .map_err(|_| failed(io::Error::new(io::ErrorKind::InvalidData, "it is not text")))?;
    Ok(Zeroizing::new(text.to_owned()))
}

/// Reads a text file of at most `max` bytes, which must belong to its reader alone if there is a private key in it.
pub(super) fn read_as_it_needs(path: &Path, max: u64) -> Result<Zeroizing<String>, FileError> {
    let text = read(path, max, Access::Public)?;
    if text.contains("PRIVATE KEY-----") {
        return read(path, max, Access::Private);
    }
    Ok(text)
}

/// Whether only the owner of the open file may read it.
#[cfg(unix)]
pub(super) fn check_private(file: &File, path: &Path) -> Result<(), FileError> {
    use std::os::unix::fs::PermissionsExt;
    let metadata = file.metadata().map_err(|source| FileError::Read {
        path: path.to_owned(),
        source,
    })?;
    let mode = metadata.permissions().mode() & 0o7777;
    if metadata.is_file() && mode & 0o077 != 0 {
        return Err(FileError::Exposed {
            path: path.to_owned(),
            mode,
        });
    }
    Ok(())
}

/// Elsewhere there are no such bits.
#[cfg(not(unix))]
pub(super) fn check_private(_: &File, _: &Path) -> Result<(), FileError> {
    Ok(())
}

/// Writes a file whole: to a new file beside it, synced, then moved to its place. Without `overwrite` an existing file
/// is an error and stays.
pub(crate) fn write(
    path: &Path,
    bytes: &[u8],
    access: Access,
    overwrite: bool,
) -> Result<(), FileError> {
    let keep_owner = matches!(access, Access::Mode(_));
    put(path, bytes, access, overwrite, keep_owner)
}

/// Replaces a file that only its owner may read, and that stays its owner's: root may renew what a service of another
/// user reads. Only for a file whose content was found to be what is replaced: others may have put a file there.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    put(path, bytes, Access::Private, true, true)
}

fn put(
    path: &Path,
    bytes: &[u8],
    access: Access,
    overwrite: bool,
    keep_owner: bool,
) -> Result<(), FileError> {
    let failed = |source| FileError::Write {
        path: path.to_owned(),
        source,
    };
    let exists = || FileError::Exists {
        path: path.to_owned(),
    };
    if !overwrite && path.symlink_metadata().is_ok() {
        return Err(exists());
    }
    let temporary = temporary(path).map_err(failed)?;
    let done = (|| {
        let mut file = create(&temporary, access)?;
        if keep_owner {
            take_owner(path, &temporary)?;
        }
        file.write_all(bytes)?;
        file.sync_all()?;
        if overwrite {
            fs::rename(&temporary, path)
        } else {
            // A link is refused where something is already, in one step; a rename would replace it.
            fs::hard_link(&temporary, path).and_then(|()| fs::remove_file(&temporary))
        }
    })();
    match done {
        Ok(()) => {
            sync_directory(path);
            Ok(())
        }
        Err(e) => {
            let _ = fs::remove_file(&temporary);
            Err(match e.kind() {
                io::ErrorKind::AlreadyExists => exists(),
                _ => failed(e),
            })
        }
    }
}

/// A new directory, and those above it, that only the owner may enter; one that exists is left as it is.
pub(super) fn create_directory(path: &Path) -> Result<(), FileError> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::DirBuilderExt;
        builder.mode(0o700);
    }
    builder.create(path).map_err(|source| FileError::Write {
        path: path.to_owned(),
        source,
    })
}

fn create(path: &Path, access: Access) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(match access {
            Access::Private => 0o600,
            Access::Public => 0o644,
            Access::Mode(mode) => mode,
        });
    }
    #[cfg(not(unix))]
    let _ = access;
    let file = options.open(path)?;
    #[cfg(unix)]
    if let Access::Mode(mode) = access {
        // not less what the mask of the process takes
        file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(mode))?;
    }
    Ok(file)
}

/// Gives the new file the owner of the one that it replaces.
#[cfg(unix)]
fn take_owner(old: &Path, new: &Path) -> io::Result<()> {
    use std::os::unix::fs::{MetadataExt, lchown};
    let (Ok(old), own) = (old.symlink_metadata(), new.symlink_metadata()?) else {
        return Ok(());
    };
    if old.is_file() && (old.uid(), old.gid()) != (own.uid(), own.gid()) {
        let gid = Some(old.gid()).filter(|gid| *gid != own.gid());
        let uid = Some(old.uid()).filter(|uid| *uid != own.uid());
        // The group is of no consequence for what only the owner may read.
        if let Err(e) = lchown(new, uid, gid)
            && uid.is_some()
        {
            return Err(io::Error::new(
                e.kind(),
                format!(
                    "it belongs to user {}, who could not read it afterwards",
                    old.uid()
                ),
            ));
        }
    }
    Ok(())
}

/// Elsewhere owners are not known.
#[cfg(not(unix))]
fn take_owner(_: &Path, _: &Path) -> io::Result<()> {
    Ok(())
}

fn temporary(path: &Path) -> io::Result<PathBuf> {
    let mut random = [0; 8];
    ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut random)
        .map_err(|_| io::Error::other("the system gives no random bytes"))?;
    let mut name = std::ffi::OsString::from(".");
    name.push(
        path.file_name()
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "not a file name"))?,
    );
    name.push(format!(".{:016x}", u64::from_be_bytes(random)));
    Ok(path.with_file_name(name))
}

/// So that the new name survives a power loss; where a directory cannot be synced nothing is lost but that.
fn sync_directory(path: &Path) {
    let parent = path.parent().filter(|p| !p.as_os_str().is_empty());
    if let Ok(directory) = File::open(parent.unwrap_or(Path::new("."))) {
        let _ = directory.sync_all();
    }
}

#[cfg(all(test, unix))]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn private_files_are_refused_when_others_can_read_them() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        write(&path, b"text", Access::Private, false).unwrap();
        assert_eq!(read(&path, 4, Access::Private).unwrap().as_str(), "text");
        for mode in [0o640, 0o604, 0o644, 0o620, 0o601] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let error = read(&path, 4, Access::Private).unwrap_err().to_string();
            let wanted = format!("chmod 600 {}", path.display());
            assert!(error.contains(&wanted), "{error}");
            assert!(read(&path, 4, Access::Public).is_ok());
        }
    }

    #[test]
    fn nothing_is_overwritten_unasked_and_nothing_is_left_behind() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        write(&path, b"one", Access::Public, false).unwrap();
        let again = write(&path, b"two", Access::Public, false);
        assert!(matches!(again, Err(FileError::Exists { .. })), "{again:?}");
        assert_eq!(fs::read(&path).unwrap(), b"one");
        write(&path, b"two", Access::Private, true).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn who_owned_a_renewed_file_owns_it_still() {
        use std::os::unix::fs::{MetadataExt, chown};
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        write(&path, b"one", Access::Private, false).unwrap();
        if chown(&path, Some(65_534), None).is_err() {
            eprintln!("skipped: only root can give files away");
            return;
        }
        replace(&path, b"two").unwrap();
        let metadata = fs::metadata(&path).unwrap();
        assert_eq!((metadata.uid(), metadata.mode() & 0o777), (65_534, 0o600));
        assert_eq!(fs::read(&path).unwrap(), b"two");
        // nor does a group lose what it may read
        chown(&path, None, Some(65_534)).unwrap();
        write(&path, b"two", Access::Mode(0o640), true).unwrap();
        let metadata = fs::metadata(&path).unwrap();
        let owner = (metadata.uid(), metadata.gid(), metadata.mode() & 0o777);
        assert_eq!(owner, (65_534, 65_534, 0o640));
        // a file that somebody else may have put there gives its owner nothing
        write(&path, b"three", Access::Private, true).unwrap();
        assert_ne!(fs::metadata(&path).unwrap().uid(), 65_534);
    }

    #[test]
    fn a_dangling_link_is_not_written_through() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        std::os::unix::fs::symlink(dir.path().join("elsewhere"), &path).unwrap();
        assert!(write(&path, b"x", Access::Private, false).is_err());
        assert!(!dir.path().join("elsewhere").exists());
    }

    #[test]
    fn files_have_a_bound() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        fs::write(&path, b"12345").unwrap();
        assert!(read(&path, 5, Access::Public).is_ok());
        let error = read(&path, 4, Access::Public);
        assert!(matches!(error, Err(FileError::TooLarge { max: 4, .. })));
    }
}
