//! What a kernel needs to find: itself, its command line and initial RAM disk, a page of
//! parameters, page tables, and a vCPU in 64-bit mode (the 64-bit boot protocol of Linux on x86).

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use chardev::text::{shown_path, to_bytes};
use chardevd::DaemonError;
use kvm_bindings::{kvm_regs, kvm_segment, kvm_sregs};
use kvm_ioctls::VcpuFd;
use linux_loader::loader::bootparam::boot_params;
use linux_loader::loader::{BzImage, Elf, KernelLoader, KernelLoaderResult};
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryMmap};

use crate::machine::Config;

/// Where things are; the kernel comes above 1 MiB.
const GDT: u64 = 0x500;
const PARAMETERS: u64 = 0x7000;
const PAGE_TABLES: u64 = 0x9000;
const STACK: u64 = 0x8ff0;
const COMMAND_LINE: u64 = 0x2_0000;
const COMMAND_LINE_LIMIT: usize = 2048;
/// The end of the memory that a PC's firmware calls low.
const LOW_END: u64 = 0x9_fc00;
const HIGH: u64 = 0x10_0000;
/// The kernel's own name for "there is a loader, of no known kind".
const UNKNOWN_LOADER: u8 = 0xff;
const HEADER_MAGIC: u32 = 0x5372_6448;
const BOOT_FLAG: u16 = 0xaa55;
const E820_RAM: u32 = 1;

/// How a vCPU enters the kernel.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    address: u64,
}

/// Puts the kernel and everything it needs into `memory`.
///
/// # Errors
/// A file cannot be read or does not fit; the text names it.
pub fn load(config: &Config, memory: &GuestMemoryMmap) -> Result<Entry, DaemonError> {
    let kernel = load_kernel(&config.kernel, memory)?;
    let end = memory.last_addr().0 + 1;
    let initrd = match &config.initrd {
        Some(path) => Some(load_initrd(path, memory, kernel.kernel_end, end)?),
        None => None,
    };
    let line = config.command_line();
    let line = &*to_bytes(&line);
    if line.len() >= COMMAND_LINE_LIMIT || line.contains(&0) {
        return Err(format!(
            "-append: at most {} bytes, none of them 0",
            COMMAND_LINE_LIMIT - 1
        )
        .into());
    }
    let failed = |error: vm_memory::GuestMemoryError| DaemonError::of("guest memory", error);
    memory
        .write_slice(&[line, &[0]].concat(), GuestAddress(COMMAND_LINE))
        .map_err(failed)?;
    let parameters = parameters(&kernel, initrd, line.len(), end);
    memory
        .write_obj(parameters, GuestAddress(PARAMETERS))
        .map_err(failed)?;
    write_tables(memory).map_err(failed)?;
    Ok(Entry {
        address: kernel.kernel_load.0
            + if kernel.setup_header.is_some() {
                0x200
            } else {
                0
            },
    })
}

fn load_kernel(path: &Path, memory: &GuestMemoryMmap) -> Result<KernelLoaderResult, DaemonError> {
    let failed = |cause: &dyn std::fmt::Display| -> DaemonError {
        format!("-kernel {}: {cause}", shown_path(path)).into()
    };
    let mut file = File::open(path).map_err(|error| failed(&error))?;
    let high = Some(GuestAddress(HIGH));
    let mut magic = [0; 4];
    let is_elf = file.read_exact(&mut magic).is_ok() && magic == *b"\x7fELF";
    file.seek(SeekFrom::Start(0))
        .map_err(|error| failed(&error))?;
    if is_elf {
        return Elf::load(memory, None, &mut file, high).map_err(|error| failed(&error));
    }
    BzImage::load(memory, high, &mut file, high)
        .map_err(|error| failed(&format!("neither an ELF file nor a bzImage: {error}")))
}

/// The initial RAM disk goes to the end of memory. Returns where it is and how long.
fn load_initrd(
    path: &Path,
    memory: &GuestMemoryMmap,
    kernel_end: u64,
    end: u64,
) -> Result<(u32, u32), DaemonError> {
    let failed = |cause: &dyn std::fmt::Display| -> DaemonError {
        format!("-initrd {}: {cause}", shown_path(path)).into()
    };
    let mut content = Vec::new();
    let mut file = File::open(path).map_err(|error| failed(&error))?;
    file.read_to_end(&mut content)
        .map_err(|error| failed(&error))?;
    let at = end.saturating_sub(content.len() as u64) & !0xfff;
    if at < kernel_end {
        return Err(failed(&format!(
            "{} bytes do not fit after the kernel; give more memory with -m",
            content.len()
        )));
    }
    memory
        .write_slice(&content, GuestAddress(at))
        .map_err(|error| failed(&error))?;
    Ok((at as u32, content.len() as u32))
}

/// The page that tells the kernel about everything else.
fn parameters(
    kernel: &KernelLoaderResult,
    initrd: Option<(u32, u32)>,
    line_length: usize,
    end: u64,
) -> boot_params {
    let mut parameters = boot_params::default();
    if let Some(header) = kernel.setup_header {
        parameters.hdr = header;
    }
    let header = &mut parameters.hdr;
    header.type_of_loader = UNKNOWN_LOADER;
    header.boot_flag = BOOT_FLAG;
    header.header = HEADER_MAGIC;
    header.cmd_line_ptr = COMMAND_LINE as u32;
    header.cmdline_size = line_length as u32;
    header.kernel_alignment = HIGH as u32;
    if let Some((at, length)) = initrd {
        header.ramdisk_image = at;
        header.ramdisk_size = length;
    }
    for (number, (start, stop)) in [(0, LOW_END), (HIGH, end)].into_iter().enumerate() {
        let entry = &mut parameters.e820_table[number];
        entry.addr = start;
        entry.size = stop - start;
        entry.r#type = E820_RAM;
        parameters.e820_entries += 1;
    }
    parameters
}

/// Page tables that map the first 4 GiB as they are, and the segments.
fn write_tables(memory: &GuestMemoryMmap) -> Result<(), vm_memory::GuestMemoryError> {
    const PRESENT_WRITABLE: u64 = 0x03;
    const LARGE: u64 = 0x80;
    let write = |at: u64, value: u64| memory.write_obj(value, GuestAddress(at));
    let directories = PAGE_TABLES + 0x2000;
    write(PAGE_TABLES, (PAGE_TABLES + 0x1000) | PRESENT_WRITABLE)?;
    for gib in 0..4 {
        let directory = directories + gib * 0x1000;
        write(PAGE_TABLES + 0x1000 + gib * 8, directory | PRESENT_WRITABLE)?;
        for page in 0..512 {
            let address = (gib << 30) + (page << 21);
            write(directory + page * 8, address | PRESENT_WRITABLE | LARGE)?;
        }
    }
    for (number, descriptor) in GDT_ENTRIES.iter().enumerate() {
        write(GDT + number as u64 * 8, *descriptor)?;
    }
    Ok(())
}

/// Nothing, nothing, 64-bit code, data: the selectors 0x10 and 0x18 that Linux expects.
const GDT_ENTRIES: [u64; 4] = [0, 0, 0x00af_9b00_0000_ffff, 0x00cf_9300_0000_ffff];

/// Puts the vCPU at the kernel's entry, in 64-bit mode with interrupts off.
///
/// # Errors
/// KVM refuses the state.
pub fn enter(vcpu: &VcpuFd, entry: Entry) -> Result<(), DaemonError> {
    let failed = |error: kvm_ioctls::Error| DaemonError::of("the vCPU's registers", error);
    let mut special = vcpu.get_sregs().map_err(failed)?;
    set_long_mode(&mut special);
    vcpu.set_sregs(&special).map_err(failed)?;
    let registers = kvm_regs {
        rflags: 2,
        rip: entry.address,
        rsp: STACK,
        rbp: STACK,
        rsi: PARAMETERS,
        ..Default::default()
    };
    vcpu.set_regs(&registers).map_err(failed)
}

fn set_long_mode(special: &mut kvm_sregs) {
    const PE_ET_NE_WP_PG: u64 = 0x8001_0031;
    const PAE_OSFXSR_OSXMMEXCPT: u64 = 0x620;
    const LME_LMA: u64 = 0x500;
    let segment = |selector: u16, type_: u8, long: u8| kvm_segment {
        base: 0,
        limit: 0xffff_ffff,
        selector,
        type_,
        present: 1,
        dpl: 0,
        db: 1 - long,
        s: 1,
        l: long,
        g: 1,
        ..Default::default()
    };
    special.cs = segment(0x10, 0xb, 1);
    let data = segment(0x18, 0x3, 0);
    (special.ds, special.es, special.fs) = (data, data, data);
    (special.gs, special.ss) = (data, data);
    special.gdt.base = GDT;
    special.gdt.limit = (GDT_ENTRIES.len() * 8 - 1) as u16;
    special.idt.base = 0;
    special.idt.limit = 0;
    special.cr0 = PE_ET_NE_WP_PG;
    special.cr3 = PAGE_TABLES;
    special.cr4 = PAE_OSFXSR_OSXMMEXCPT;
    special.efer = LME_LMA;
}
