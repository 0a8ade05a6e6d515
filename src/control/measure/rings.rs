//! What the kernel tells of rings: monoio keeps them to itself, but `/proc/self/fdinfo` shows how
//! many operations each was given and has ended. It does not show how often a worker entered the
//! kernel.

use std::fs;

use crate::exposition::Rings;

/// Connections beyond which rings are not looked at: the kernel lists each of them, and holds the
/// ring meanwhile.
pub(crate) const CONNECTIONS_MAX: u64 = 1024;

/// Sums what rings tell; their numbers have 32 bits and go round.
#[derive(Debug)]
pub(crate) struct RingReader {
    /// Descriptor of each ring, and what it told last.
    rings: Vec<(String, Told)>,
    sum: Rings,
}

/// What one ring tells.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Told {
    submissions: u32,
    completions: u32,
    overflowing: u64,
}

impl RingReader {
    /// Finds the rings of this process. Called early, while there are few files to look through.
    pub(crate) fn find() -> Self {
        let entries = fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
        let rings = entries.filter_map(|entry| {
            let target = fs::read_link(entry.path()).ok()?;
            let name = entry.file_name().into_string().ok()?;
            (target.to_str() == Some("anon_inode:[io_uring]")).then(|| (name, Told::default()))
        });
        Self { rings: rings.collect(), sum: Rings::default() }
    }

    /// Looks at all rings, unless there are too many `connections`; then nothing changes. `None`
    /// where there are none.
    pub(crate) fn read(&mut self, connections: u64) -> Option<Rings> {
        if self.rings.is_empty() {
            return None;
        }
        if connections > CONNECTIONS_MAX {
            return Some(self.sum);
        }
        self.sum.overflowing = 0;
        for (name, last) in &mut self.rings {
            let text = fs::read_to_string(format!("/proc/self/fdinfo/{name}"));
            let Some(told) = text.ok().and_then(|text| parse(&text)) else { continue };
            let new = |now: u32, before: u32| u64::from(now.wrapping_sub(before));
            self.sum.submissions += new(told.submissions, last.submissions);
            self.sum.completions += new(told.completions, last.completions);
            self.sum.overflowing += told.overflowing;
            *last = told;
        }
        Some(self.sum)
    }
}

fn parse(text: &str) -> Option<Told> {
    let number = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        line.trim().parse().ok()
    };
    // A ring that is held just now shows neither.
    let (submissions, completions) = (number("SqTail")?, number("CqTail")?);
    let listed = text.lines().skip_while(|line| !line.starts_with("CqOverflowList:")).skip(1);
    let overflowing = listed.take_while(|line| line.starts_with(' ')).count() as u64;
    Some(Told { submissions, completions, overflowing })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_ring_tells_is_read() {
        let text = "pos:\t0\nSqMask:\t0xfff\nSqHead:\t7\nSqTail:\t25\nCachedSqHead:\t7\n\
                    CqHead:\t4\nCqTail:\t22\nPollList:\n  op=27, task_works=0\n\
                    CqOverflowList:\n  user_data=1\n  user_data=2\nNAPI:\tdisabled\n";
        let told = Told { submissions: 25, completions: 22, overflowing: 2 };
        assert_eq!(parse(text), Some(told));
        assert_eq!(parse("pos:\t0\n"), None);
    }

    #[test]
    fn numbers_go_round_and_the_sum_does_not() {
        let last = Told { submissions: u32::MAX - 1, completions: 5, overflowing: 0 };
        let new = 3_u32.wrapping_sub(last.submissions);
        assert_eq!(new, 5);
        let mut reader = RingReader { rings: vec![], sum: Rings::default() };
        assert!(reader.read(0).is_none(), "epoll has none");
    }
}
