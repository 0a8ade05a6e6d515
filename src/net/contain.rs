//! The one place where a panic stops: the task of a connection.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

/// Runs `future`; `None` when it panicked, and then it is dropped like any connection that ends.
/// The state it leaves behind is safe: what a worker shares between connections is changed in
/// single steps that do not call out.
pub fn contain<F: Future>(future: F) -> impl Future<Output = Option<F::Output>> {
    Contained(future)
}

/// Not an `async fn`: that would hold its argument twice, and every connection is one of these.
struct Contained<F>(F);

impl<F: Future> Future for Contained<F> {
    type Output = Option<F::Output>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        // SAFETY: the field is pinned whenever the whole is: it is never moved out, and nothing
        // else gives access to it.
        let future = unsafe { self.map_unchecked_mut(|contained| &mut contained.0) };
        match catch_unwind(AssertUnwindSafe(|| future.poll(cx))) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(output)) => Poll::Ready(Some(output)),
            Err(_) => Poll::Ready(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::pin::pin;
    use std::task::Waker;

    #[test]
    fn panic_ends_the_future_only() {
        let mut ends = pin!(contain(async { 1 }));
        let mut panics = pin!(contain(async {
            if true {
                panic!("contained")
            }
        }));
        let cx = &mut Context::from_waker(Waker::noop());
        assert_eq!(ends.as_mut().poll(cx), Poll::Ready(Some(1)));
        assert_eq!(panics.as_mut().poll(cx), Poll::Ready(None));
    }
}
