//! Files that are there as a whole or not at all.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::diagnostic::UserError;

/// Writes a file under another name beside it and renames it: a reader never sees a half, and an interrupted command
/// leaves the old file as it was. Missing folders are made. What is no ordinary file, such as `/dev/stdout` or a pipe,
/// is written to directly: a rename would put a file in its place.
///
/// # Errors
/// The system refuses; the error names the file.
pub fn write(path: &Path, content: &[u8]) -> Result<(), UserError> {
    copy(path, &mut { content })
}

/// As [`write()`], with the content from a reader.
///
/// # Errors
/// The system refuses; the error names the file.
pub fn copy(path: &Path, content: &mut impl Read) -> Result<(), UserError> {
    try_write(path, content).map_err(|error| refused(path, &error))
}

/// Whether [`write()`] can write there later, as far as that can be known: found out before hours of work, not after.
///
/// # Errors
/// The system refuses; the error names the file.
pub fn check(path: &Path) -> Result<(), UserError> {
    let tried = place(path).and_then(|place| match place {
        Place::Direct => File::options().write(true).open(path).map(drop),
        Place::Beside(temporary) => File::create(&temporary).and_then(|_| fs::remove_file(&temporary)),
    });
    tried.map_err(|error| refused(path, &error))
}

fn refused(path: &Path, error: &io::Error) -> UserError {
    UserError::new(format!("cannot write `{}`: {error}", path.display()))
}

/// How a file is written.
enum Place {
    /// It is there and is no ordinary file.
    Direct,
    /// Under this name first.
    Beside(PathBuf),
}

fn place(path: &Path) -> io::Result<Place> {
    let name =
        path.file_name().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "it names no file"))?;
    match fs::metadata(path) {
        Ok(found) if found.is_dir() => {
            return Err(io::Error::new(io::ErrorKind::IsADirectory, "it is a folder"));
        }
        Ok(found) if !found.is_file() => return Ok(Place::Direct),
        Ok(_) | Err(_) => {}
    }
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        fs::create_dir_all(folder).map_err(|error| {
            let why = format!("cannot make the folder `{}`: {error}", folder.display());
            io::Error::new(error.kind(), why)
        })?;
    }
    let temporary = format!(".{}.{}.tmp", name.to_string_lossy(), std::process::id());
    Ok(Place::Beside(path.with_file_name(temporary)))
}

fn try_write(path: &Path, content: &mut impl Read) -> io::Result<()> {
    let temporary = match place(path)? {
        Place::Direct => {
            return io::copy(content, &mut File::options().write(true).open(path)?).map(drop);
        }
        Place::Beside(temporary) => temporary,
    };
    let written = File::create(&temporary).and_then(|mut file| {
        io::copy(content, &mut file)?;
        file.sync_all()
    });
    let renamed = written.and_then(|()| fs::rename(&temporary, path));
    if renamed.is_err() {
        // The first error is the one to report; a file that cannot be removed is no news after it.
        let _ = fs::remove_file(&temporary);
    }
    renamed
}
