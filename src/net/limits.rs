//! Limits of the process that a proxy runs into, the memory that it should give back, and the room
//! on a disk.

use std::ffi::CString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Raises the soft limit of open files to the hard limit and returns it.
///
/// # Errors
/// When the limits cannot be read or set; the process then runs with what it has.
pub fn raise_open_files() -> io::Result<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is a valid, writable rlimit.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) } != 0 {
        return Err(io::Error::last_os_error());
    }
    if limit.rlim_cur < limit.rlim_max {
        limit.rlim_cur = limit.rlim_max;
        // SAFETY: `limit` is a valid rlimit.
        if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) } != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(limit.rlim_cur)
}

/// Gives memory that the calling thread has freed a while ago back to the kernel. mimalloc does so
/// on its own only while it is asked for more, and a worker that turns idle asks for none.
pub fn give_memory_back() {
    // SAFETY: collects the calling thread's heap; does nothing where mimalloc is not in use.
    unsafe { libmimalloc_sys::mi_collect(false) };
}

/// As [`give_memory_back`], also what was freed just now: for a thread that has done a large piece
/// of work and perhaps does nothing more for a while.
pub fn give_all_memory_back() {
    // SAFETY: as above.
    unsafe { libmimalloc_sys::mi_collect(true) };
}

/// Turns transparent huge pages off for the process. With them, a few free kilobytes between the
/// states of idle connections become megabytes in use.
///
/// # Errors
/// When the kernel refuses; the process then only uses more memory.
pub fn refuse_huge_pages() -> io::Result<()> {
    // SAFETY: takes numbers only and touches no memory of ours.
    match unsafe { libc::prctl(libc::PR_SET_THP_DISABLE, 1, 0, 0, 0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// What a file system has left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// Bytes that an ordinary user may still write.
    pub bytes: u64,
    /// Whether it is mounted for reading only.
    pub read_only: bool,
}

/// What the file system that holds `path` has left.
///
/// # Errors
/// What the kernel says, as for a path that does not exist.
pub fn room(path: &Path) -> io::Result<Room> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: all-zero bytes are a valid statvfs.
    let mut found: libc::statvfs = unsafe { std::mem::zeroed() };
    // SAFETY: `path` ends with a zero byte and `found` is a valid, writable statvfs.
    if unsafe { libc::statvfs(path.as_ptr(), &raw mut found) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let read_only = found.f_flag & libc::ST_RDONLY != 0;
    Ok(Room { bytes: found.f_bavail.saturating_mul(found.f_frsize), read_only })
}
