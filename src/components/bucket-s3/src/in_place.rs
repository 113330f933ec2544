//! Reads a stream into memory that is there already. The bindings alone would have the
//! host put each piece into memory of its own, from which it is copied.
//!
//! For a list that it returns, a host asks the component for memory, by `cabi_realloc` of
//! the canonical ABI. The one here first gives what was offered to it.

use core::cell::Cell;
use core::mem::ManuallyDrop;
use core::ptr;

use crate::bindings::wasi::io::streams::{InputStream, StreamError};

thread_local! {
    /// Memory for the list of bytes that the host asks for next: where, and how much.
    static OFFERED: Cell<(*mut u8, usize)> = const { Cell::new((ptr::null_mut(), 0)) };
}

/// Appends to `bytes` what a stream has, at most `most` bytes: none if it has none yet.
///
/// # Errors
/// As the stream gives them.
pub fn append(stream: &InputStream, most: u64, bytes: &mut Vec<u8>) -> Result<(), StreamError> {
    let spare = bytes.spare_capacity_mut();
    let place = spare.as_mut_ptr().cast::<u8>();
    OFFERED.set((place, spare.len()));
    let given = stream.read(most);
    OFFERED.set((ptr::null_mut(), 0));
    // Not to be freed before it is clear whose memory it is.
    let given = ManuallyDrop::new(given?);
    if !ptr::eq(given.as_ptr(), place) || given.is_empty() {
        bytes.extend_from_slice(&ManuallyDrop::into_inner(given));
        return Ok(());
    }
    let length = bytes.len().saturating_add(given.len());
    // SAFETY: `cabi_realloc` gave the start of the spare capacity, for no more bytes than
    // that has, and the host has written all of them, as the canonical ABI has it. `given`,
    // which names the same memory, is never used again and never dropped.
    #[allow(unsafe_code)]
    unsafe {
        bytes.set_len(length);
    }
    Ok(())
}

/// Gives a host memory, in place of the function of that name in the bindings, which is
/// weak.
///
/// # Safety
/// As the canonical ABI has it: called by the host only, with memory that came from here.
#[allow(unsafe_code)]
#[unsafe(export_name = "cabi_realloc")]
unsafe extern "C" fn cabi_realloc(
    old: *mut u8,
    old_length: usize,
    align: usize,
    length: usize,
) -> *mut u8 {
    let (place, room) = OFFERED.replace((ptr::null_mut(), 0));
    if old_length == 0 && align == 1 && (1..=room).contains(&length) {
        return place;
    }
    // SAFETY: passed on as it came.
    unsafe { wit_bindgen::rt::cabi_realloc(old, old_length, align, length) }
}
