//! Memory that a worker has freed and the kernel could have back.
//!
//! The allocator returns free pages after a delay, but looks at them only when it is called; a
//! worker whose connections have all gone idle never calls it. So the worker does, now and then.

/// Returns the free pages of the calling thread's heap to the kernel, those aside that were freed
/// a moment ago. Where another allocator is in use, as in unit tests, it has no effect.
pub fn give_back() {
    // SAFETY: may be called at any time; it only touches the heap of the calling thread.
    unsafe { libmimalloc_sys::mi_collect(false) }
}
