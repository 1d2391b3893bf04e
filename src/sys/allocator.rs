//! The programs' allocator: dlmalloc, which gives back next to nothing of what was used once. This one gives back the
//! pages within free blocks: what one large request took is not midge's for good.

use std::alloc::{GlobalAlloc, Layout};
use std::ptr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use dlmalloc::Dlmalloc;
use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous};

/// How much must have been freed before it is worth a look at what the system can have back, in bytes.
const FREED: usize = 128 * 1024;
/// How long after that the look comes: the rest of a large request is freed by then, and what is wanted again at once
/// is in use again.
const DELAY: Duration = Duration::from_secs(1);
/// How much is freed between two questions for the time, in bytes: where the clock is a system call, it costs more than
/// the rest.
const STEP: usize = 32 * 1024;
/// The largest block by which free memory is looked through, in bytes; each further one is half as large. Each keeps
/// the page of its head.
const LARGEST: usize = 4 << 20;
/// The smallest one, in pages. What is smaller is kept.
const SMALLEST: usize = 4;
/// malloc's own.
const ALIGN: usize = 2 * size_of::<usize>();

/// To be the one `#[global_allocator]` of a program.
pub struct Allocator(Mutex<Heap>);

struct Heap {
    memory: Dlmalloc<Pages>,
    freed: usize,
    due: Option<Instant>,
}

/// Where the heap's memory comes from. While it is closed nothing does: what the heap has for malloc is free in it.
struct Pages {
    is_closed: bool,
}

/// The head of a free block that is held while others are looked for.
struct Held {
    next: *mut Held,
    size: usize,
}

// SAFETY: what is mapped is nobody else's. The heap keeps its addresses for good: only pages are given back.
#[allow(unsafe_code)]
unsafe impl dlmalloc::Allocator for Pages {
    fn alloc(&self, size: usize) -> (*mut u8, usize, u32) {
        let (access, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE);
        let mapped = match self.is_closed {
            true => None,
            // SAFETY: the kernel chooses where, so that nothing is there yet.
            false => unsafe { mmap_anonymous(ptr::null_mut(), size, access, flags) }.ok(),
        };
        mapped.map_or((ptr::null_mut(), 0, 0), |base| (base.cast(), size, 0))
    }

    fn remap(&self, _: *mut u8, _: usize, _: usize, _: bool) -> *mut u8 {
        ptr::null_mut()
    }

    fn free_part(&self, _: *mut u8, _: usize, _: usize) -> bool {
        false
    }

    fn free(&self, _: *mut u8, _: usize) -> bool {
        false
    }

    fn can_release_part(&self, _: u32) -> bool {
        false
    }

    fn allocates_zeros(&self) -> bool {
        true
    }

    fn page_size(&self) -> usize {
        4096
    }
}

// SAFETY: the heap's pointers lead to memory that is nobody else's, whichever thread looks at it.
#[allow(unsafe_code)]
unsafe impl Send for Heap {}

impl Allocator {
    #[allow(clippy::new_without_default)] // a static needs a constant
    pub const fn new() -> Allocator {
        let memory = Dlmalloc::new_with_allocator(Pages { is_closed: false });
        Allocator(Mutex::new(Heap { memory, freed: 0, due: None }))
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
        if heap.freed >= FREED && heap.is_due() {
            heap.give_back();
        }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        unsafe { self.heap().memory.realloc(pointer, layout.size(), layout.align(), size) }
    }
}

impl Heap {
    #[cold]
    fn is_due(&mut self) -> bool {
        let now = Instant::now();
        let is_due = *self.due.get_or_insert(now + DELAY) <= now;
        (self.freed, self.due) = if is_due { (0, None) } else { (FREED - STEP, self.due) };
        is_due
    }

    /// Takes all free blocks, gives back their pages, and frees them again.
    #[cold]
    #[allow(unsafe_code)]
    fn give_back(&mut self) {
        let page = page_size();
        let mut held: *mut Held = ptr::null_mut();
        self.memory.allocator_mut().is_closed = true;
        let mut size = LARGEST;
        while size >= SMALLEST * page {
            // SAFETY: the block is this function's until it is freed below, with the size that it was made with, and
            // aligned for its head. The pages are within it, behind its head.
            unsafe {
                loop {
                    let block = self.memory.malloc(size, ALIGN);
                    if block.is_null() {
                        break;
                    }
                    let head = block.cast::<Held>();
                    head.write(Held { next: held, size });
                    held = head;
                    let first = (block.addr() + size_of::<Held>()).next_multiple_of(page);
                    let end = (block.addr() + size) / page * page;
                    // An error leaves them where they are.
                    let _ = madvise(block.with_addr(first).cast(), end - first, Advice::LinuxDontNeed);
                }
            }
            size /= 2;
        }
        self.memory.allocator_mut().is_closed = false;
        while !held.is_null() {
            // SAFETY: as above.
            unsafe {
                let Held { next, size } = held.read();
                self.memory.free(held.cast(), size, ALIGN);
                held = next;
            }
        }
    }
}

/// Asked of libc, which was told at the start: rustix may read a file of whatever root the thread has.
#[allow(unsafe_code)]
fn page_size() -> usize {
    // SAFETY: it only looks up a number.
    let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    usize::try_from(size).unwrap_or(1 << 16)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs::File;
    use std::os::unix::fs::FileExt;

    use super::*;

    /// How many of these pages, by number, are in memory (proc(5), /proc/PID/pagemap).
    fn present(pages: &BTreeSet<usize>) -> usize {
        let map = File::open("/proc/self/pagemap").unwrap();
        let is_present = |page: &&usize| {
            let mut entry = [0; 8];
            map.read_exact_at(&mut entry, **page as u64 * 8).unwrap();
            entry[7] & 0x80 != 0
        };
        pages.iter().filter(is_present).count()
    }

    #[test]
    #[allow(unsafe_code)]
    fn what_was_freed_is_given_back() {
        const COUNT: usize = 4000;
        let allocator = Allocator::new();
        let layout = Layout::from_size_align(1000, 8).unwrap();
        // SAFETY: every pointer is freed once, with the layout that it was made with.
        unsafe {
            // The heap begins in one piece, whatever else the process maps meanwhile.
            let all = Layout::from_size_align(2 * COUNT * layout.size(), 8).unwrap();
            allocator.dealloc(allocator.alloc(all), all);
            let blocks: Vec<*mut u8> = (0..COUNT).map(|_| allocator.alloc_zeroed(layout)).collect();
            for (number, block) in blocks.iter().enumerate() {
                assert_eq!(**block, 0);
                block.write(number as u8);
            }
            let pages: BTreeSet<usize> = blocks.iter().map(|block| block.addr() / page_size()).collect();
            let before = present(&pages);
            // Some stay, as they would.
            let stays = |number: usize| number.is_multiple_of(COUNT / 10);
            for (number, block) in blocks.iter().enumerate().filter(|(number, _)| !stays(*number)) {
                assert_eq!(**block, number as u8);
                allocator.dealloc(*block, layout);
            }
            allocator.heap().give_back();
            let left = present(&pages);
            assert!(left < before / 2, "{left} of {before} pages are left");
            for (number, block) in blocks.iter().enumerate().filter(|(number, _)| stays(*number)) {
                assert_eq!(**block, number as u8);
                allocator.dealloc(*block, layout);
            }
            // What was given back can be had again.
            let block = allocator.realloc(allocator.alloc(layout), layout, 5000);
            block.write_bytes(7, 5000);
            allocator.dealloc(block, Layout::from_size_align(5000, 8).unwrap());
        }
    }

    #[test]
    #[allow(unsafe_code)]
    fn it_looks_some_time_after_much_was_freed() {
        let allocator = Allocator::new();
        let due = || allocator.heap().due;
        let pass = |size| {
            let layout = Layout::from_size_align(size, 8).unwrap();
            // SAFETY: the block is freed once, with the layout that it was made with.
            unsafe { allocator.dealloc(allocator.alloc(layout), layout) };
        };
        pass(FREED - 1);
        assert_eq!(due(), None);
        pass(1);
        assert!(due().is_some());
        let later = Instant::now() + 1000 * DELAY;
        allocator.heap().due = Some(later);
        pass(STEP);
        assert_eq!(due(), Some(later));
        allocator.heap().due = Some(Instant::now());
        pass(STEP - 1);
        assert!(due().is_some());
        pass(1);
        assert_eq!((due(), allocator.heap().freed), (None, 0));
    }
}
