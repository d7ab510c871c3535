//! Replays the fuzz body of the back end parsers with seeded input.

#[path = "../../../fuzz/bodies/chardev_line.rs"]
mod body;
#[path = "../../../fuzz/bodies/corpus.rs"]
mod corpus;
#[path = "it/kinds/mod.rs"]
mod kinds;

#[rustfmt::skip]
const DICTIONARY: &[&str] = &[
    ",", "=", ",,", "id=a,", "null,", "file,", "socket,", "udp,", "ringbuf,", "hub,", "x-test,", "path=p,",
    "host=h,", "port=1,", "fd=3,", "server,", "nowait,", "nodelay,", "delay=", "on", "off", "to=", "0x", "7", "-",
    "size=", "64", "k", "E", ".", "chardevs.0=a,", "x-mode=fast,", "x-closed=hold,", "localport=2,", "reconnect=",
    "{'type':'file','data':{'out':'x'}}", "{'type':'socket','data':{'addr':{'type':'inet','data':{", "}}}}",
    "'host':'h','port':'1','to':9", "'ipv4':true", "{'type':", "'data':{",
];

#[test]
fn fuzz_chardev_line_with_what_is_kept() {
    corpus::replay("chardev_line", |input| body::run(input, kinds::KINDS));
}

#[test]
fn fuzz_chardev_line() {
    let mut random = corpus::Random(0x5eed);
    for _ in 0..20_000 {
        body::run(&corpus::input(&mut random, DICTIONARY), kinds::KINDS);
    }
}
