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
fn fuzz_qmp_daemon_with_what_is_kept() {
    corpus::replay("qmp_daemon", body::run);
}

#[test]
fn fuzz_qmp_daemon() {
    let mut random = corpus::Random(0xdae_5eed);
    for round in 0..1_500 {
        let mut data = vec![random.below(256) as u8, random.below(256) as u8];
        if round % 3 > 0 {
            // Every byte chooses what is done next, or a name or a value for it.
            data.extend((0..random.below(400)).map(|_| random.below(256) as u8));
        } else {
            for piece in corpus::input(&mut random, DICTIONARY).chunks(200) {
                data.extend([0x0f, piece.len() as u8 - 1]);
                data.extend(piece);
            }
        }
        body::run(&data);
    }
}
