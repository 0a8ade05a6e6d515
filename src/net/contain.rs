//! The one place where a panic stops: the task of a connection.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::Poll;

/// Runs `future`; `None` when it panicked, and then it is dropped like any connection that ends.
/// The state it leaves behind is safe: what a worker shares between connections is changed in
/// single steps that do not call out.
pub async fn contain<F: Future>(future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    std::future::poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
        Ok(Poll::Pending) => Poll::Pending,
        Ok(Poll::Ready(output)) => Poll::Ready(Some(output)),
        Err(_) => Poll::Ready(None),
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::{Context, Waker};

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
