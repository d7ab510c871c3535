//! Replays the fuzz body of websocket with seeded streams.

#[path = "../../../../fuzz/bodies/websocket.rs"]
mod body;

use crate::corpus;

const DICTIONARY: &[&str] = &[
    "GET / HTTP/1.1\r\n",
    "Host: x\r\n",
    "Upgrade: websocket\r\n",
    "Connection: Upgrade\r\n",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
    "Sec-WebSocket-Version: 13\r\n",
    "Sec-WebSocket-Protocol: binary\r\n",
    "\r\n",
    "\r\n\r\n",
    "plain",
    "κόσμε",
];

#[test]
fn fuzz_websocket_with_what_is_kept() {
    corpus::replay("websocket", body::run);
}

#[test]
fn fuzz_websocket() {
    let mut random = corpus::Random(0x6455);
    for round in 0..20_000 {
        let mut stream = vec![random.below(256) as u8];
        if round % 2 == 0 {
            stream.extend(corpus::input(&mut random, DICTIONARY));
        }
        for _ in 0..random.below(12) {
            frame(&mut random, &mut stream);
        }
        body::run(&stream);
    }
}

/// A frame that is right more often than not.
fn frame(random: &mut corpus::Random, stream: &mut Vec<u8>) {
    let opcode = [0, 1, 1, 2, 2, 2, 8, 9, 10, random.below(16)][random.below(10)] as u8;
    let is_final = [0x80, 0x80, 0x80, 0][random.below(4)];
    let length = random.below(126);
    let masked = if random.below(30) == 0 { 0 } else { 0x80 };
    stream.extend([is_final | opcode, masked | length as u8]);
    let mask = [random.below(256) as u8, 0, 0, random.below(256) as u8];
    stream.extend(mask);
    let plain = b"a\xce\xba\xf0\x90\x8d\x88";
    for at in 0..length {
        let byte = plain[at % plain.len()];
        let byte = if random.below(300) == 0 { 0xff } else { byte };
        stream.push(byte ^ mask[at % 4]);
    }
}
