//! A guest of one boot sector that prints a decimal counter on COM1 as fast as it can. It needs no
//! kernel, no image to download and no assembler: QEMU starts it in a third of a second.

use std::fs;
use std::path::Path;

use crate::sh::Result;

/// Real-mode code for address 0x7c00, in AT&T syntax. It ends in the line that it counts in.
#[rustfmt::skip]
const CODE: &[u8] = &[
    0xfc,                         //        cld
    0x31, 0xc0,                   //        xor   %ax,%ax
    0x8e, 0xd8,                   //        mov   %ax,%ds
    0xbe, 0x31, 0x7c,             // print: mov   $line,%si
    0xba, 0xfd, 0x03,             // next:  mov   $0x3fd,%dx     line status register
    0xec,                         // busy:  in    (%dx),%al
    0xa8, 0x20,                   //        test  $0x20,%al      transmitter empty?
    0x74, 0xfb,                   //        je    busy
    0xba, 0xf8, 0x03,             //        mov   $0x3f8,%dx     transmit register
    0xac,                         //        lods  (%si),%al
    0xee,                         //        out   %al,(%dx)
    0x81, 0xfe, 0x3c, 0x7c,       //        cmp   $end,%si
    0x75, 0xed,                   //        jne   next
    0xbf, 0x3a, 0x7c,             //        mov   $end-2,%di     the last digit
    0xfe, 0x05,                   // count: incb  (%di)
    0x80, 0x3d, 0x3a,             //        cmpb  $'9'+1,(%di)
    0x72, 0xe0,                   //        jb    print
    0xc6, 0x05, 0x30,             //        movb  $'0',(%di)     carry into the digit before
    0x4f,                         //        dec   %di
    0x81, 0xff, 0x31, 0x7c,       //        cmp   $line,%di
    0x73, 0xef,                   //        jae   count
    0xeb, 0xd4,                   //        jmp   print
    b'0', b'0', b'0', b'0', b'0', b'0', b'0', b'0', b'0', b'0', b'\n',
];

/// Writes a floppy image that boots the guest.
pub(crate) fn write_image(path: &Path) -> Result {
    const FLOPPY: usize = 1440 << 10;
    let mut image = vec![0; FLOPPY];
    image[..CODE.len()].copy_from_slice(CODE);
    image[510..512].copy_from_slice(&[0x55, 0xaa]);
    fs::write(path, image).map_err(|e| format!("{}: {e}", path.display()).into())
}
