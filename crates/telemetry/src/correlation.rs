//! Which request or task the running code belongs to: its correlation id, and its place in a trace.
//!
//! Not a `tracing` span: a span costs an entry in a registry per request, and is gone when its level is off. This is
//! one value per thread, put in place while a future is polled, and taken out after.

use crate::TraceContext;
use domain::CorrelationId;
use std::cell::RefCell;
use std::pin::Pin;
use std::task::{Context, Poll};
use uuid::Uuid;

thread_local! {
    static CURRENT: RefCell<Scope> = const { RefCell::new(Scope { correlation: None, trace: None }) };
}

#[derive(Debug)]
struct Scope {
    correlation: Option<CorrelationId>,
    trace: Option<TraceContext>,
}

/// Takes the id that a caller sent when it keeps the rule, else makes one.
pub fn accept(sent: Option<&str>) -> CorrelationId {
    sent.and_then(|text| text.parse().ok()).unwrap_or_else(fresh)
}

/// A new id: a UUIDv7, so that ids sort by the time at which they were made.
pub fn fresh() -> CorrelationId {
    CorrelationId::try_from(Uuid::now_v7().to_string()).expect("a UUID has 36 hexadecimal digits and dashes")
}

/// The id of the request or task whose future is being polled on this thread.
pub fn current() -> Option<CorrelationId> {
    CURRENT.with_borrow(|scope| scope.correlation.clone())
}

/// The place in a trace of the future that is being polled on this thread.
pub fn current_trace() -> Option<TraceContext> {
    CURRENT.with_borrow(|scope| scope.trace.clone())
}

/// Runs `future` under `id`: [`current`] and every line of log inside it say so.
///
/// What the future spawns does not inherit it; wrap that as well.
pub fn correlated<F: Future>(id: CorrelationId, future: F) -> Correlated<Pin<Box<F>>> {
    Correlated::new(id, Box::pin(future))
}

/// A future that runs under a correlation id, see [`correlated`].
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct Correlated<F> {
    /// That of the caller while this one is in place as the current one.
    scope: Scope,
    future: F,
}

impl<F: Future + Unpin> Correlated<F> {
    /// Like [`correlated`], for a future that is boxed already.
    pub fn new(id: CorrelationId, future: F) -> Self {
        Self { scope: Scope { correlation: Some(id), trace: current_trace() }, future }
    }

    /// At this place in a trace, rather than at the one where it was made.
    pub fn in_trace(mut self, trace: Option<TraceContext>) -> Self {
        self.scope.trace = trace;
        self
    }
}

impl<F: Future + Unpin> Future for Correlated<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let Self { scope, future } = self.get_mut();
        let _in_place = InPlace::put(scope);
        Pin::new(future).poll(context)
    }
}

/// Swaps a scope with the current one, and back when dropped, also by a panic.
struct InPlace<'a>(&'a mut Scope);

impl<'a> InPlace<'a> {
    fn put(scope: &'a mut Scope) -> Self {
        CURRENT.with_borrow_mut(|current| std::mem::swap(current, scope));
        Self(scope)
    }
}

impl Drop for InPlace<'_> {
    fn drop(&mut self) {
        CURRENT.with_borrow_mut(|current| std::mem::swap(current, self.0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::task::Waker;

    fn poll(future: &mut (impl Future<Output = ()> + Unpin)) -> Poll<()> {
        Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn a_valid_id_is_kept_and_any_other_replaced() {
        assert_eq!(accept(Some("order-17")).as_str(), "order-17");
        for refused in [None, Some(""), Some("two words"), Some("nul\0")] {
            let id = accept(refused);
            assert_eq!(Uuid::parse_str(id.as_str()).unwrap().get_version_num(), 7, "{refused:?}");
        }
    }

    #[test]
    fn ids_made_one_after_another_sort_by_time() {
        let ids: Vec<CorrelationId> = (0..100).map(|_| fresh()).collect();
        assert!(ids.is_sorted());
    }

    #[test]
    fn the_id_is_current_only_while_its_future_is_polled() {
        let (outer, inner) = (fresh(), fresh());
        let mut nested = correlated(outer.clone(), {
            let (outer, inner) = (outer.clone(), inner.clone());
            async move {
                correlated(inner.clone(), async { assert_eq!(current(), Some(inner)) }).await;
                assert_eq!(current(), Some(outer));
            }
        });

        assert_eq!(poll(&mut nested), Poll::Ready(()));
        assert_eq!(current(), None);
    }

    #[test]
    fn two_futures_on_one_thread_keep_their_own() {
        let claim = |id: CorrelationId| {
            correlated(id.clone(), async move {
                let mut polled = false;
                std::future::poll_fn(|_| {
                    assert_eq!(current().as_ref(), Some(&id));
                    if std::mem::replace(&mut polled, true) { Poll::Ready(()) } else { Poll::Pending }
                })
                .await;
            })
        };
        let (mut first, mut second) = (claim(fresh()), claim(fresh()));

        assert_eq!([poll(&mut first), poll(&mut second)], [Poll::Pending; 2]);
        assert_eq!([poll(&mut second), poll(&mut first)], [Poll::Ready(()); 2]);
    }

    #[test]
    fn a_panic_leaves_no_id_behind() {
        let mut doomed = correlated(fresh(), async { panic!("on purpose") });
        assert!(catch_unwind(AssertUnwindSafe(|| poll(&mut doomed))).is_err());
        assert_eq!(current(), None);
    }

    #[test]
    fn the_place_in_a_trace_is_inherited_unless_another_is_named() {
        let trace = |id: &str| {
            TraceContext::from_headers(
                Some(&format!("00-{}-{}-01", id.repeat(32), id.repeat(16))),
                None,
                None,
            )
        };
        let mut outer = correlated(fresh(), async move {
            correlated(fresh(), async { assert_eq!(current_trace(), trace("a")) }).await;
            correlated(fresh(), async { assert_eq!(current_trace(), trace("b")) }).in_trace(trace("b")).await;
            assert_eq!(current_trace(), trace("a"));
        })
        .in_trace(trace("a"));

        assert_eq!(poll(&mut outer), Poll::Ready(()));
        assert_eq!(current_trace(), None);
    }
}
