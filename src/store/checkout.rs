//! A connection taken from a pool for one call.

use std::sync::Arc;

use deadpool::managed::{Manager, Object, Pool, PoolError};

use crate::store::error::StoreError;

/// Goes back to its pool when the call has ended, and only then.
///
/// A call that was cut off, by a deadline or because its caller went away, leaves its statement
/// behind: on the server, or on a line that has fallen silent. Whoever took the connection next
/// would wait for that, so it is closed instead.
pub(super) struct Checkout<M: Manager>(Option<Object<M>>);

impl<M: Manager> Checkout<M>
where
    StoreError: From<PoolError<M::Error>>,
{
    /// Waits for a connection.
    pub(super) async fn new(pool: &Pool<M>) -> Result<Self, StoreError> {
        Ok(Self(Some(pool.get().await?)))
    }

    /// The connection.
    pub(super) fn conn(&mut self) -> Result<&mut M::Type, StoreError> {
        let returned =
            || StoreError::Unavailable(Arc::new(std::io::Error::other("the connection was given back")));
        self.0.as_deref_mut().ok_or_else(returned)
    }

    /// Gives the connection back. Also after an error: the pool looks at what state it is in.
    pub(super) fn done(mut self) {
        drop(self.0.take());
    }
}

impl<M: Manager> Drop for Checkout<M> {
    fn drop(&mut self) {
        if let Some(object) = self.0.take() {
            drop(Object::take(object));
        }
    }
}
