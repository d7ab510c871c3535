//! The bare machine: entry, ports, time, memory functions.

use core::arch::{asm, global_asm};

use chardev_load::decimal::parse;

// Entered in 64-bit mode with interrupts off and the page of parameters in `rsi`. A machine that
// was reset has the old `.bss`.
global_asm!(
    ".section .text.start, \"ax\"",
    ".global _start",
    "_start:",
    "cld",
    "lea rsp, [rip + __stack_top]",
    "lea rdi, [rip + __bss_start]",
    "lea rcx, [rip + __bss_end]",
    "sub rcx, rdi",
    "xor eax, eax",
    "rep stosb",
    "xor ebp, ebp",
    "mov rdi, rsi",
    "call guest_main",
    "ud2",
);

/// Writes a byte to an I/O port.
pub fn outb(port: u16, value: u8) {
    // SAFETY: ports reach devices only, which touch no memory of ours.
    unsafe { asm!("out dx, al", in("dx") port, in("al") value, options(nostack, preserves_flags)) }
}

/// Reads a byte from an I/O port.
pub fn inb(port: u16) -> u8 {
    let value;
    // SAFETY: as above.
    unsafe { asm!("in al, dx", in("dx") port, out("al") value, options(nostack, preserves_flags)) }
    value
}

/// Writes all of `bytes` to an I/O port, which a virtual machine can do in one exit.
pub fn outsb(port: u16, bytes: &[u8]) {
    // SAFETY: reads the slice only.
    unsafe {
        asm!("rep outsb", in("dx") port, inout("rsi") bytes.as_ptr() => _, inout("rcx") bytes.len() => _,
            options(nostack, preserves_flags));
    }
}

/// Fills `bytes` from an I/O port.
pub fn insb(port: u16, bytes: &mut [u8]) {
    // SAFETY: writes the slice only.
    unsafe {
        asm!("rep insb", in("dx") port, inout("rdi") bytes.as_mut_ptr() => _, inout("rcx") bytes.len() => _,
            options(nostack, preserves_flags));
    }
}

/// The time stamp counter.
pub fn tsc() -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: reads two registers.
    unsafe {
        asm!("rdtsc", out("eax") low, out("edx") high, options(nomem, nostack, preserves_flags))
    }
    u64::from(high) << 32 | u64::from(low)
}

/// The kernel's command line, from the page of parameters the guest was entered with.
///
/// # Safety
/// `parameters` is what the boot protocol put into `rsi`.
pub unsafe fn command_line(parameters: *const u8) -> &'static [u8] {
    const POINTER: usize = 0x228;
    const LENGTH: usize = 0x238;
    // SAFETY: the protocol says that these two fields are there, and what they mean.
    unsafe {
        let text = parameters.add(POINTER).cast::<u32>().read_unaligned() as usize as *const u8;
        let length = parameters.add(LENGTH).cast::<u32>().read_unaligned() as usize;
        core::slice::from_raw_parts(text, length)
    }
}

/// The number behind `key` in a command line.
pub fn word_after(line: &[u8], key: &[u8]) -> Option<u64> {
    let mut words = line.split(|byte| *byte == b' ');
    words.find_map(|word| parse(word.strip_prefix(key)?))
}

/// Resets the machine through the keyboard controller.
pub fn reset() -> ! {
    outb(0x64, 0xfe);
    halt()
}

/// Resets the machine by a fault that nobody handles: there is no interrupt table.
pub fn fault() -> ! {
    // SAFETY: nothing goes on from here.
    unsafe { asm!("ud2", options(noreturn)) }
}

/// Ends the virtual machine with a status.
pub fn power_off(status: u8) {
    outb(0xf4, status);
}

/// Does nothing for ever.
pub fn halt() -> ! {
    loop {
        core::hint::spin_loop();
    }
}

// What the compiler calls and a C library would have.

#[unsafe(no_mangle)]
unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, count: usize) -> *mut u8 {
    // SAFETY: the caller vouches for both ranges.
    unsafe {
        asm!("rep movsb", inout("rdi") to => _, inout("rsi") from => _, inout("rcx") count => _)
    }
    to
}

#[unsafe(no_mangle)]
unsafe extern "C" fn memmove(to: *mut u8, from: *const u8, count: usize) -> *mut u8 {
    if to as usize > from as usize {
        // SAFETY: the caller vouches for both ranges; backwards, because they may overlap.
        unsafe {
            asm!("std", "rep movsb", "cld", inout("rdi") to.wrapping_add(count).wrapping_sub(1) => _,
                inout("rsi") from.wrapping_add(count).wrapping_sub(1) => _, inout("rcx") count => _);
        }
        return to;
    }
    // SAFETY: as `memcpy`.
    unsafe { memcpy(to, from, count) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn memset(to: *mut u8, value: i32, count: usize) -> *mut u8 {
    // SAFETY: the caller vouches for the range.
    unsafe {
        asm!("rep stosb", inout("rdi") to => _, inout("rcx") count => _, in("al") value as u8)
    }
    to
}

#[unsafe(no_mangle)]
unsafe extern "C" fn memcmp(a: *const u8, b: *const u8, count: usize) -> i32 {
    if count == 0 {
        return 0;
    }
    let (x, y): (*const u8, *const u8);
    // SAFETY: the caller vouches for both ranges; the bytes compared last are in them.
    unsafe {
        asm!("repe cmpsb", inout("rsi") a => x, inout("rdi") b => y, inout("rcx") count => _,
            options(nostack, readonly));
        i32::from(*x.sub(1)) - i32::from(*y.sub(1))
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn bcmp(a: *const u8, b: *const u8, count: usize) -> i32 {
    // SAFETY: the caller vouches for both ranges.
    unsafe { memcmp(a, b, count) }
}

/// Named by the unwinding tables of the core library, which are thrown away: nothing unwinds here.
#[unsafe(no_mangle)]
extern "C" fn rust_eh_personality() {}
