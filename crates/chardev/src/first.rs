//! Waiting for the first of two things. A few lines of ours, since what tokio has for it is a crate
//! of macros that everybody who builds this one would compile.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

/// Which came first.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum First<A, B> {
    One(A),
    Other(B),
}

/// Waits for whichever comes first, and drops the future of the other; of two that are there, `one`
/// counts.
pub(crate) async fn first<A, B>(
    one: impl Future<Output = A>,
    other: impl Future<Output = B>,
) -> First<A, B> {
    let (mut one, mut other) = (pin!(one), pin!(other));
    poll_fn(move |context| {
        if let Poll::Ready(one) = one.as_mut().poll(context) {
            return Poll::Ready(First::One(one));
        }
        other.as_mut().poll(context).map(First::Other)
    })
    .await
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};
    use std::task::{Context, Waker};

    use super::*;

    fn now<T>(future: impl Future<Output = T>) -> Poll<T> {
        let mut context = Context::from_waker(Waker::noop());
        pin!(future).poll(&mut context)
    }

    #[test]
    fn the_first_counts() {
        assert_eq!(now(first(ready(1), ready(2))), Poll::Ready(First::One(1)));
        let other = first(pending::<u8>(), ready(2));
        assert_eq!(now(other), Poll::Ready(First::Other(2)));
        let none = first(pending::<u8>(), pending::<u8>());
        assert_eq!(now(none), Poll::Pending);
    }
}
