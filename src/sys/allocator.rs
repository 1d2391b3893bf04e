//! The programs' allocator: dlmalloc, which keeps up to 2 MB that were used once. This one gives them back.

use std::alloc::{GlobalAlloc, Layout};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use dlmalloc::Dlmalloc;

/// How much must have been freed before it is worth a look at what the system can have back, in bytes.
const FREED: usize = 128 * 1024;
/// Under load the same memory is wanted again at once.
const PAUSE: Duration = Duration::from_secs(1);
/// Kept for what comes next, in bytes.
const KEPT: usize = 32 * 1024;

/// To be the one `#[global_allocator]` of a program.
pub struct Allocator(Mutex<Heap>);

struct Heap {
    memory: Dlmalloc,
    freed: usize,
    trimmed: Option<Instant>,
}

// SAFETY: the heap's pointers lead to memory that is nobody else's, whichever thread looks at it.
#[allow(unsafe_code)]
unsafe impl Send for Heap {}

impl Allocator {
    #[allow(clippy::new_without_default)] // a static needs a constant
    pub const fn new() -> Allocator {
        Allocator(Mutex::new(Heap { memory: Dlmalloc::new(), freed: 0, trimmed: None }))
    }

    fn heap(&self) -> MutexGuard<'_, Heap> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// SAFETY: each method passes on what its caller promises, and the lock is held meanwhile. Nothing within it
// allocates: neither the lock (a futex) nor the clock does.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        unsafe { self.heap().memory.malloc(layout.size(), layout.align()) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        unsafe { self.heap().memory.calloc(layout.size(), layout.align()) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        let mut heap = self.heap();
        unsafe { heap.memory.free(pointer, layout.size(), layout.align()) };
        heap.freed += layout.size();
        if heap.freed >= FREED {
            heap.give_back();
        }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        unsafe { self.heap().memory.realloc(pointer, layout.size(), layout.align(), size) }
    }
}

impl Heap {
    #[cold]
    #[allow(unsafe_code)]
    fn give_back(&mut self) {
        let now = Instant::now();
        if self.trimmed.is_none_or(|trimmed| now.duration_since(trimmed) >= PAUSE) {
            // SAFETY: only memory that nothing points into is given back.
            unsafe { self.memory.trim(KEPT) };
            (self.freed, self.trimmed) = (0, Some(now));
        } else {
            // Not each time: where the clock is a system call, it costs more than the rest.
            self.freed = FREED / 2;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[allow(unsafe_code)]
    fn what_was_freed_is_given_back() {
        let allocator = Allocator::new();
        let layout = Layout::from_size_align(1000, 8).unwrap();
        // SAFETY: every pointer is freed once, with the layout that it was made with.
        unsafe {
            let blocks: Vec<*mut u8> = (0..1000).map(|_| allocator.alloc_zeroed(layout)).collect();
            for (number, block) in blocks.iter().enumerate() {
                assert_eq!(**block, 0);
                block.write(number as u8);
            }
            for (number, block) in blocks.into_iter().enumerate() {
                assert_eq!(*block, number as u8);
                allocator.dealloc(block, layout);
            }
            let heap = allocator.heap();
            assert!(heap.trimmed.is_some());
            drop(heap);
            // What was given back can be had again.
            let block = allocator.realloc(allocator.alloc(layout), layout, 5000);
            block.write_bytes(7, 5000);
            allocator.dealloc(block, Layout::from_size_align(5000, 8).unwrap());
        }
    }
}
