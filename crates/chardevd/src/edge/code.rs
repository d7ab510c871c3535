//! The pages of code that only the start needed.

use std::fs;

/// Lets go of the code that is mapped by now. Whenever a page of it is needed the kernel maps those
/// around it as well, and the start comes by most of the program once, so most of it counted as
/// resident for ever. What is needed again comes back from the page cache.
#[expect(clippy::disallowed_methods, reason = "this file is on no disk")]
pub(crate) fn let_go_of_code() {
    let maps = fs::read_to_string("/proc/self/maps").unwrap_or_default();
    for (start, end) in maps.lines().filter_map(code) {
        // SAFETY: this is code of a file, which nobody has ever been able to write to here, so what
        // is mapped when it is needed again is the same. An error leaves it as it is.
        unsafe {
            libc::madvise(start as *mut libc::c_void, end - start, libc::MADV_DONTNEED);
        }
    }
}

/// Where a line of the map tells of code from a file: `START-END r-xp OFFSET DEVICE INODE PATH`.
fn code(line: &str) -> Option<(usize, usize)> {
    let mut fields = line.split_ascii_whitespace();
    let (start, end) = fields.next()?.split_once('-')?;
    let is_code = fields.next()? == "r-xp" && fields.nth(3)?.starts_with('/');
    let number = |text| usize::from_str_radix(text, 16).ok();
    is_code.then_some((number(start)?, number(end)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_code_that_comes_from_a_file_is_let_go_of() {
        let line = |rest| format!("7f0010000000-7f0010003000 {rest}");
        let there = Some((0x7f00_1000_0000, 0x7f00_1000_3000));
        assert_eq!(
            code(&line("r-xp 00001000 fe:00 77 /usr/bin/chardevd")),
            there
        );
        for other in [
            "r--p 00001000 fe:00 77 /usr/bin/chardevd",
            "rwxp 00001000 fe:00 77 /usr/bin/chardevd",
            "r-xp 00000000 00:00 0 [vdso]",
            "r-xp 00000000 00:00 0",
        ] {
            assert_eq!(code(&line(other)), None, "{other}");
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
