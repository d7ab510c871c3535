//! Replays the fuzz body of the session with seeded input.

#[path = "../../../fuzz/bodies/qmp_session.rs"]
mod body;
#[path = "../../../fuzz/bodies/corpus.rs"]
mod corpus;
#[path = "../../chardev-qapi/tests/it/kinds/mod.rs"]
mod kinds;

#[rustfmt::skip]
const DICTIONARY: &[&str] = &[
    "{", "}", "[", "]", ",", ":", "\"", "'", "\\", "\n", " ", "0", "-1", "1.5e3", "tru", "true", "null",
    "{'execute':'qmp_capabilities','arguments':{'enable':['oob']}}", "{'execute':'query-chardev','id':[1]}",
    "{'execute':'chardev-add','arguments':{'id':'a','backend':{'type':'file','data':{'out':'x'}}}}",
    "{'exec-oob':'quit','id':{'a':'\\ud83d\\ude00'}}", "\"execute\":", "'arguments':{", "'query-version'",
    "{'execute':'ringbuf-write','arguments':{'device':'r','data':'AA=','format':'base64'}}", "'id':", "\\u12",
];

#[test]
fn fuzz_qmp_session_with_what_is_kept() {
    corpus::replay("qmp_session", |input| body::run(input, kinds::KINDS));
}

#[test]
fn fuzz_qmp_session() {
    let mut random = corpus::Random(0x5eed);
    for _ in 0..5_000 {
        let mut data = vec![random.below(256) as u8];
        data.extend(corpus::input(&mut random, DICTIONARY));
        body::run(&data, kinds::KINDS);
    }
}
