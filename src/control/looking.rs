//! Looking at files from time to time, on another thread, since that may wait for the disk.

use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tokio::sync::oneshot::error::TryRecvError;

use super::change;

/// How often files are looked at.
const LOOK: Duration = Duration::from_secs(1);

/// When files were looked at last, and the look under way, which finds `T`s.
#[derive(Debug)]
pub(super) struct Looking<T> {
    looked: Option<Instant>,
    under_way: Option<oneshot::Receiver<Vec<T>>>,
}

impl<T> Default for Looking<T> {
    fn default() -> Self {
        Self { looked: None, under_way: None }
    }
}

impl<T: Send + 'static> Looking<T> {
    /// What a look has found that is over by now. When it is time for the next one, begins it:
    /// `look` on another thread, at the `files` of that moment, if there are any. No two looks are
    /// under way at once.
    pub(super) fn tick<F: Send + 'static>(
        &mut self,
        now: Instant,
        files: impl FnOnce() -> Vec<F>,
        look: impl FnOnce(Vec<F>) -> Vec<T> + Send + 'static,
    ) -> Vec<T> {
        if let Some(under_way) = &mut self.under_way {
            let found = match under_way.try_recv() {
                Err(TryRecvError::Empty) => return Vec::new(),
                Err(TryRecvError::Closed) => Vec::new(),
                Ok(found) => found,
            };
            self.under_way = None;
            return found;
        }
        let due = self.looked.is_none_or(|looked| now.duration_since(looked) >= LOOK);
        let files = if due { files() } else { Vec::new() };
        if !files.is_empty() {
            self.looked = Some(now);
            let (send, receive) = oneshot::channel();
            drop(change::elsewhere(move || send.send(look(files))));
            self.under_way = Some(receive);
        }
        Vec::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ticks at `now` until a look has found something.
    async fn found(looking: &mut Looking<u8>, now: Instant) -> Vec<u8> {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            let found = looking.tick(now, || panic!("one look at a time"), |files: Vec<u8>| files);
            if !found.is_empty() || Instant::now() > deadline {
                return found;
            }
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn files_are_looked_at_once_a_second_and_one_look_at_a_time() {
        let (mut looking, start) = (Looking::default(), Instant::now());
        let none = looking.tick(start, Vec::new, |files: Vec<u8>| files);
        assert!(none.is_empty() && looking.looked.is_none(), "nothing to look at");
        assert!(looking.tick(start, || vec![1], |files| files).is_empty(), "it takes its time");
        assert_eq!(found(&mut looking, start).await, [1]);
        let early = start + LOOK - Duration::from_millis(1);
        assert!(looking.tick(early, || panic!("too early"), |files: Vec<u8>| files).is_empty());
        assert!(looking.tick(start + LOOK, || vec![2], |files| files).is_empty());
        assert_eq!(found(&mut looking, start + LOOK).await, [2]);
    }

    #[tokio::test]
    async fn look_that_fails_is_followed_by_another() {
        let (mut looking, start) = (Looking::<u8>::default(), Instant::now());
        let (send, receive) = oneshot::channel();
        looking.under_way = Some(receive);
        drop(send);
        assert!(looking.tick(start, || vec![1], |files| files).is_empty());
        assert!(looking.tick(start, || vec![1], |files| files).is_empty());
        assert_eq!(found(&mut looking, start).await, [1]);
    }
}
