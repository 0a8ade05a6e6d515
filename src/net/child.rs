//! Processes that are started here: their bounds, and their end.

use std::io;
use std::mem;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Has what `command` starts run on `core` alone, if one is named, and be killed when the calling
/// thread ends, however that comes: so it must be spawned by a thread that lives as long as it
/// should. A core that cannot be had makes the spawn fail.
pub fn confine(command: &mut Command, core: Option<usize>) {
    let set = core.map(|core| {
        // SAFETY: all-zero bytes are an empty set of cores.
        let mut set: libc::cpu_set_t = unsafe { mem::zeroed() };
        if core < libc::CPU_SETSIZE as usize {
            // SAFETY: the core is within the set.
            unsafe { libc::CPU_SET(core, &mut set) };
        }
        set
    });
    let confined = move || {
        // SAFETY: takes numbers only.
        let mut result = unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
        if let (0, Some(set)) = (result, &set) {
            let size = size_of::<libc::cpu_set_t>();
            // SAFETY: `set` is valid for its size for the length of the call.
            result = unsafe { libc::sched_setaffinity(0, size, set) };
        }
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    };
    // SAFETY: between fork and exec it makes two system calls, and allocates nothing.
    unsafe { command.pre_exec(confined) };
}

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
    fn a_confined_child_runs_on_its_core() {
        let own = core_affinity::get_core_ids().expect("cores")[0].id;
        let mut command = Command::new("grep");
        command.args(["Cpus_allowed_list", "/proc/self/status"]);
        confine(&mut command, Some(own));
        let output = command.output().expect("grep");
        let text = String::from_utf8(output.stdout).expect("ASCII");
        assert_eq!(text.split_whitespace().nth(1), Some(own.to_string().as_str()), "{text}");
    }

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
