//! What this process holds of the machine's memory.

/// Gives back what is not in use. The allocator keeps what a burst of work took, in pages between those that are in use;
/// in a process that lives for months and rests most of the time, that is more than all it holds. Takes some
/// milliseconds, during which threads that allocate may wait.
pub fn give_back() {
    // SAFETY: it takes no pointer, and may be called at any time from any thread.
    #[cfg(target_env = "gnu")]
    #[allow(unsafe_code)]
    unsafe {
        libc::malloc_trim(0);
    }
}
