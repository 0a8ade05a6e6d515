//! The one place where a panic stops: the task of a connection.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

/// Runs `future`, and `panicked` if it panics; it is then dropped like any connection that ends.
/// The state it leaves behind is safe: what a worker shares between connections is changed in
/// single steps that do not call out.
pub fn contain<F, P>(future: F, panicked: P) -> impl Future<Output = ()>
where
    F: Future<Output = ()>,
    P: FnOnce(),
{
    Contained { future, panicked: Some(panicked) }
}

/// Written out because an async function would hold the future twice.
struct Contained<F, P> {
    future: F,
    panicked: Option<P>,
}

impl<F: Future<Output = ()>, P: FnOnce()> Future for Contained<F, P> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        // SAFETY: `future` is pinned whenever `self` is: it is never moved out, and neither a
        // `Drop` nor an `Unpin` of this type says otherwise. `panicked` is never pinned.
        let (future, panicked) = unsafe {
            let this = self.get_unchecked_mut();
            (Pin::new_unchecked(&mut this.future), &mut this.panicked)
        };
        match catch_unwind(AssertUnwindSafe(|| future.poll(cx))) {
            Ok(poll) => poll,
            Err(_) => {
                if let Some(panicked) = panicked.take() {
                    panicked();
                }
                Poll::Ready(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::pin::pin;
    use std::task::Waker;

    #[test]
    fn panic_ends_the_future_only() {
        let panics = Cell::new(0);
        let count = || panics.set(panics.get() + 1);
        let cx = &mut Context::from_waker(Waker::noop());
        let mut ends = pin!(contain(async {}, count));
        assert!(ends.as_mut().poll(cx).is_ready());
        assert_eq!(panics.get(), 0);
        let mut fails = pin!(contain(async { panic!("contained") }, count));
        assert!(fails.as_mut().poll(cx).is_ready());
        assert_eq!(panics.get(), 1);
    }
}
