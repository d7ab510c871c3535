//! The pages of code that only the start needed.

use std::ffi::{CStr, c_int, c_void};
use std::{ptr, slice};

/// Lets go of the code that is mapped by now. Whenever a page of it is needed the kernel maps those
/// around it as well, and the start comes by most of the program once, so most of it counted as
/// resident for ever. What is needed again comes back from the page cache.
pub(crate) fn let_go_of_code() {
    // SAFETY: the function is one for this call, and needs no data. It loads nothing.
    unsafe {
        libc::dl_iterate_phdr(Some(let_go_of_one), ptr::null_mut());
    }
}

/// Of the program, or of one library.
unsafe extern "C" fn let_go_of_one(
    info: *mut libc::dl_phdr_info,
    _size: usize,
    _data: *mut c_void,
) -> c_int {
    const PAGE: usize = 4096;
    // SAFETY: the loader describes what is loaded, and keeps all of it as long as this runs.
    let (base, name, headers) = unsafe {
        let info = &*info;
        let headers = slice::from_raw_parts(info.dlpi_phdr, usize::from(info.dlpi_phnum));
        let name = CStr::from_ptr(info.dlpi_name).to_bytes();
        (info.dlpi_addr as usize, name, headers)
    };
    // The kernel's own is no file's.
    if name.starts_with(b"linux-") {
        return 0;
    }
    let code = headers.iter();
    for header in code.filter(|header| is_code(header.p_type, header.p_flags)) {
        let start = base + header.p_vaddr as usize;
        let whole = start - start % PAGE;
        let length = start + header.p_memsz as usize - whole;
        // SAFETY: this is code of a file, which nobody has ever been able to write to here, so what
        // is mapped when it is needed again is the same. An error leaves it as it is.
        unsafe {
            libc::madvise(whole as *mut c_void, length, libc::MADV_DONTNEED);
        }
    }
    0
}

/// Of a part of a program with this type and these flags.
fn is_code(kind: u32, flags: u32) -> bool {
    let access = flags & (libc::PF_R | libc::PF_W | libc::PF_X);
    kind == libc::PT_LOAD && access == libc::PF_R | libc::PF_X
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_code_is_let_go_of() {
        let (read, write, run) = (libc::PF_R, libc::PF_W, libc::PF_X);
        assert!(is_code(libc::PT_LOAD, read | run));
        for (kind, flags) in [
            (libc::PT_LOAD, read),
            (libc::PT_LOAD, read | write),
            (libc::PT_LOAD, read | write | run),
            (libc::PT_GNU_STACK, read | run),
        ] {
            assert!(!is_code(kind, flags), "{kind} {flags}");
        }
    }

    #[test]
    fn the_program_goes_on_without_it() {
        let numbers = || {
            (1..100_000u64)
                .map(|number| number.to_string().len())
                .sum::<usize>()
        };
        let before = numbers();
        let_go_of_code();
        assert_eq!(numbers(), before);
    }
}
