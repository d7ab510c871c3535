//! Replays the fuzz body of the whole monitor with seeded input.

#[path = "../../../fuzz/bodies/qmp_daemon/mod.rs"]
mod body;
#[path = "../../../fuzz/bodies/corpus.rs"]
mod corpus;

#[rustfmt::skip]
const DICTIONARY: &[&str] = &[
    "{", "}", "[", "]", ",", ":", "\"", "'", "\\", "\n", "\r", "\t", " ", "0", "-1", "true", "null", "\u{7f}", "\u{1b}[A",
    "{'execute':'chardev-add','arguments':{'id':'a','backend':{'type':'ringbuf','data':{}}}}",
    "{'execute':'chardev-change','arguments':{'id':'a','backend':{'type':'null','data':{}}}}",
    "{'execute':'chardev-remove','arguments':{'id':'a'}}", "{'exec-oob':'query-yank'}", "{'execute':'query-chardev'}",
    "{'execute':'ringbuf-write','arguments':{'device':'a','data':'AA=','format':'base64'}}", "{'execute':'stop'}",
    "{'execute':'human-monitor-command','arguments':{'command-line':'chardev-add null,id=b,mux=on'}}",
    "chardev-add ringbuf,id=a\r", "chardev-ch\t a\t null\r", "info chardev\r", "help\r", "ringbuf_read a (1+2)*3\r",
];

#[test]
fn fuzz_qmp_daemon() {
    let mut random = corpus::Random(0xdae_5eed);
    for round in 0..1_500 {
        let mut data = vec![random.below(256) as u8];
        if round % 2 == 0 {
            // Structured: every byte chooses a name or a value.
            data[0] |= 0x80;
            data.extend((0..random.below(200)).map(|_| random.below(256) as u8));
        } else {
            data[0] &= 0x7f;
            data.extend(corpus::input(&mut random, DICTIONARY));
        }
        body::run(&data);
    }
}
