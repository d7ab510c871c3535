//! Replays the fuzz body of telnet with seeded input.

#[path = "../../../../fuzz/bodies/telnet.rs"]
mod body;

use crate::corpus;

/// What means something, in bytes.
const PIECES: &[&[u8]] = &[
    b"\xff",
    b"\xff\xff",
    b"\xff\xfb",
    b"\xff\xfd",
    b"\xff\xfe\x00",
    b"\xff\xfc\x00",
    b"\xff\xfd\x00",
    b"\xff\xfb\x00",
    b"\xff\xfb\x1f",
    b"\xff\xfa\x1f\x00\x50\x00\x18\xff\xf0",
    b"\xff\xfa\x18\x01\xff\xf0",
    b"\xff\xfb\x18",
    b"\xff\xfd\x18",
    b"\xff\xfb\x2c",
    b"\xff\xfd\x2c",
    b"\xff\xfe\x2c",
    b"\xff\xfa\x2c\x01\0\0\x25\x80\xff\xf0",
    b"\xff\xfa\x2c\x02\x07\xff\xf0",
    b"\xff\xfa\x2c\x05\x05\xff\xf0",
    b"\xff\xfa\x2c\x05\x09\xff\xf0",
    b"\xff\xfa\x2c\x08\xff\xf0",
    b"\xff\xfa\x2c\x09\xff\xf0",
    b"\xff\xfa\x2c\x0b\xff\xff\xff\xf0",
    b"\xff\xfa\x2c\x0c\x01\xff\xf0",
    b"\xff\xfa\x2c\x0c\x02\xff\xf0",
    b"\xff\xfa\x2c\x0c\x03\xff\xf0",
    b"\xff\xfa\x2c\x70\x01\xff\xf0",
    b"\xff\xfa\x2c\x70\x03\xff\xf0",
    b"\xff\xfa\x2c\x65\0\0\x25\x80\xff\xf0",
    b"\xff\xfa\x2c\x66\x07\xff\xf0",
    b"\xff\xfa\x2c\x67\x01\xff\xf0",
    b"\xff\xfa\x2c\x68\x01\xff\xf0",
    b"\xff\xfa\x2c\x6b\x91\xff\xf0",
    b"\xff\xfa\x2c\x6a\x10\xff\xf0",
    b"\xff\xfa\x2c\x6c\xff\xf0",
    b"\xff\xfa\x2c",
    b"\xff\xfa",
    b"\xff\xf0",
    b"\xff\xf3",
    b"\xff\xef",
    b"\r",
    b"\0",
    b"\r\n",
    b"text",
];

#[test]
fn fuzz_telnet_with_what_is_kept() {
    corpus::replay("telnet", body::run);
}

#[test]
fn fuzz_telnet() {
    let mut random = corpus::Random(0x7e1_7e7);
    for _ in 0..20_000 {
        let mut data = vec![0; 3];
        data[0] = random.below(24) as u8;
        data[1] = random.below(20) as u8;
        data[2] = random.below(256) as u8;
        for _ in 0..random.below(30) {
            match random.below(6) {
                0 => data.push(random.below(256) as u8),
                1 => {
                    let more = data.len() * random.below(3);
                    data.resize(data.len() + more, 0);
                }
                _ => data.extend_from_slice(PIECES[random.below(PIECES.len())]),
            }
            data.truncate(4096);
        }
        body::run(&data);
    }
}
