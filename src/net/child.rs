//! The end of a process that was started here.

use std::io;
use std::mem;

/// Waits until the child process `pid` has ended; whether it ended by itself and with status 0.
///
/// It is left as it is, for whoever inherits it: a service manager that follows it learns how it
/// has ended only if nobody has asked before. The calling thread blocks.
///
/// # Errors
/// When it is no child of this process.
pub fn wait_for_end(pid: u32) -> io::Result<bool> {
    loop {
        // SAFETY: all-zero bytes are a valid siginfo_t.
        let mut end: libc::siginfo_t = unsafe { mem::zeroed() };
        let how = libc::WEXITED | libc::WNOWAIT;
        // SAFETY: `end` is a valid, writable siginfo_t.
        if unsafe { libc::waitid(libc::P_PID, pid, &raw mut end, how) } == 0 {
            // SAFETY: waitid has filled in what belongs to the end of a child.
            return Ok(end.si_code == libc::CLD_EXITED && unsafe { end.si_status() } == 0);
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn the_end_of_a_child_is_told_and_left_for_others() {
        for (script, well) in [("exit 0", true), ("exit 3", false), ("kill -9 $$", false)] {
            let mut child = Command::new("sh").args(["-c", script]).spawn().expect("sh");
            assert_eq!(wait_for_end(child.id()).expect("a child"), well, "{script}");
            assert_eq!(child.wait().expect("not yet asked for").success(), well, "{script}");
            assert!(wait_for_end(child.id()).is_err(), "now it is gone");
        }
    }
}
