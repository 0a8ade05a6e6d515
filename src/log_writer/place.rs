//! The places that lines go to: a file that is rotated, standard output, datagrams.

use std::fmt::Display;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::model::{LogSink, Rotation};

/// Mode of a file that is made here: the group may read what may be private.
const FILE_MODE: u32 = 0o640;
/// Where journald listens.
const JOURNAL: &str = "/run/systemd/journal/socket";
/// What stands in front of a line in a datagram to the journal (systemd: "Native Journal
/// Protocol"); priority 6 is "info".
const JOURNAL_PREFIX: &[u8] = b"PRIORITY=6\nSYSLOG_IDENTIFIER=ringway-access\nMESSAGE=";

/// An open place.
pub(super) enum Place {
    File(LogFile),
    Stdout(File),
    Datagrams(Datagrams),
}

impl Place {
    pub(super) fn open(sink: &LogSink) -> io::Result<Self> {
        Ok(match sink {
            LogSink::File { path, rotation } => Self::File(LogFile::open(path, *rotation)?),
            LogSink::Stdout => Self::Stdout(io::stdout().as_fd().try_clone_to_owned()?.into()),
            LogSink::Journal => Self::Datagrams(Datagrams::new(JOURNAL.into(), JOURNAL_PREFIX)),
            LogSink::Datagram(path) => Self::Datagrams(Datagrams::new(path.clone(), b"")),
        })
    }

    /// Writes some of `bytes`, which are whole lines or the end of one and whole lines. How many.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::File(file) => file.write(bytes),
            Self::Stdout(stdout) => stdout.write(bytes),
            Self::Datagrams(datagrams) => datagrams.send_first(bytes),
        }
    }

    /// Whether trying again cannot help.
    pub(super) fn never_takes(error: &io::Error) -> bool {
        error.raw_os_error() == Some(libc::EMSGSIZE)
    }

    /// Opens a file anew, which may have been moved away; other places have nothing to open.
    pub(super) fn reopen(&mut self) -> io::Result<()> {
        match self {
            Self::File(file) => file.reopen(),
            Self::Stdout(_) => Ok(()),
            Self::Datagrams(datagrams) => {
                datagrams.socket = None;
                Ok(())
            }
        }
    }

    /// Begins another file if it is time; only to be called at the end of a line.
    pub(super) fn rotate(&mut self) {
        if let Self::File(file) = self {
            file.rotate_if_due();
        }
    }

    /// The place, for messages.
    pub(super) fn name(&self) -> Box<dyn Display + '_> {
        match self {
            Self::File(file) => Box::new(file.path.display()),
            Self::Stdout(_) => Box::new("stdout"),
            Self::Datagrams(datagrams) => Box::new(datagrams.path.display()),
        }
    }
}

/// A log file, and when it is put aside.
pub(super) struct LogFile {
    path: PathBuf,
    file: File,
    rotation: Rotation,
    bytes: u64,
    /// Which span of `rotation.every` its lines are of, counted from 1970.
    period: u64,
    /// Whether it is a regular file; nothing else is rotated.
    is_regular: bool,
    /// Bytes that its disk takes, for tests.
    #[cfg(test)]
    room: Option<usize>,
}

impl LogFile {
    fn open(path: &Path, rotation: Rotation) -> io::Result<Self> {
        let file = open(path)?;
        let metadata = file.metadata()?;
        let mut log = Self {
            path: path.to_owned(),
            file,
            rotation,
            bytes: metadata.len(),
            period: 0,
            is_regular: metadata.is_file(),
            #[cfg(test)]
            room: None,
        };
        log.period = match metadata.len() {
            0 => log.period_of(now()),
            // Of when it was last written: it may be due at once.
            _ => log.period_of(u64::try_from(metadata.mtime()).unwrap_or_default()),
        };
        Ok(log)
    }

    fn reopen(&mut self) -> io::Result<()> {
        *self = Self::open(&self.path, self.rotation)?;
        Ok(())
    }

    /// A file that takes `room` bytes until it is opened anew.
    #[cfg(test)]
    pub(super) fn full_after(path: &Path, room: usize) -> io::Result<Self> {
        let rotation = Rotation { bytes: None, every: None, keep: 1 };
        Ok(Self { room: Some(room), ..Self::open(path, rotation)? })
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        #[cfg(test)]
        let bytes = match &mut self.room {
            Some(0) => return Err(io::ErrorKind::StorageFull.into()),
            Some(room) => {
                let count = bytes.len().min(std::mem::take(room));
                &bytes[..count]
            }
            None => bytes,
        };
        let count = self.file.write(bytes)?;
        self.bytes += count as u64;
        Ok(count)
    }

    fn period_of(&self, seconds: u64) -> u64 {
        self.rotation.every.map_or(0, |every| seconds / every.as_secs().max(1))
    }

    fn rotate_if_due(&mut self) {
        let is_full = self.rotation.bytes.is_some_and(|max| self.bytes >= max);
        let is_old = self.rotation.every.is_some() && self.period_of(now()) != self.period;
        if !self.is_regular || self.bytes == 0 || !(is_full || is_old) {
            return;
        }
        if let Err(error) = self.rotate() {
            // The file goes on, and is tried again once it has grown by as much again.
            tracing::error!(file = %self.path.display(), %error, "cannot rotate the access log");
            (self.bytes, self.period) = (1, self.period_of(now()));
        }
    }

    /// Puts the file aside as `.1`, those before as `.2` and so on, and begins another.
    fn rotate(&mut self) -> io::Result<()> {
        // Where the file is another one by now, someone else has put ours aside, such as the
        // process that takes over from this one.
        if self.is_at_its_path() {
            for number in (1..self.rotation.keep).rev() {
                rename(&self.aside(number), &self.aside(number + 1))?;
            }
            rename(&self.path, &self.aside(1))?;
        }
        self.reopen()
    }

    fn aside(&self, number: u32) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(format!(".{number}"));
        name.into()
    }

    fn is_at_its_path(&self) -> bool {
        let id = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
        let ours = self.file.metadata().map(id);
        let there = fs::metadata(&self.path).map(id);
        matches!((ours, there), (Ok(ours), Ok(there)) if ours == there)
    }
}

/// Renames a file that may not be there.
fn rename(from: &Path, to: &Path) -> io::Result<()> {
    match fs::rename(from, to) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

/// Opens `path` for appending; makes it where it does not exist.
fn open(path: &Path) -> io::Result<File> {
    let is_pipe = fs::metadata(path).is_ok_and(|metadata| metadata.file_type().is_fifo());
    if is_pipe {
        // For writing alone it would wait here for a reader.
        return OpenOptions::new().read(true).write(true).open(path);
    }
    let made = OpenOptions::new().append(true).create_new(true).mode(FILE_MODE).open(path);
    match made {
        Ok(file) => {
            // Whatever the umask says.
            file.set_permissions(Permissions::from_mode(FILE_MODE))?;
            Ok(file)
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            OpenOptions::new().append(true).create(true).mode(FILE_MODE).open(path)
        }
        Err(error) => Err(error),
    }
}

/// Seconds since 1970.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// A Unix datagram socket, one line per datagram.
pub(super) struct Datagrams {
    path: PathBuf,
    prefix: &'static [u8],
    /// Connected; `None` before the first line, and after a failure.
    socket: Option<UnixDatagram>,
    message: Vec<u8>,
}

impl Datagrams {
    fn new(path: PathBuf, prefix: &'static [u8]) -> Self {
        Self { path, prefix, socket: None, message: Vec::new() }
    }

    /// Sends the first line of `bytes`; waits while the receiver's queue is full.
    fn send_first(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let socket = match self.socket.take() {
            Some(socket) => socket,
            None => {
                let socket = UnixDatagram::unbound()?;
                socket.connect(&self.path)?;
                socket
            }
        };
        let line = &bytes[..super::line_end(bytes, 0)];
        self.message.clear();
        self.message.extend_from_slice(self.prefix);
        self.message.extend_from_slice(line.strip_suffix(b"\n").unwrap_or(line));
        let sent = socket.send(&self.message);
        if sent.as_ref().err().is_none_or(Place::never_takes) {
            self.socket = Some(socket);
        }
        sent.map(|_| line.len())
    }
}
