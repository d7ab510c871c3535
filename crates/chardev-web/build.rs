//! Packs the files of the page, and of the terminal if they are installed, for `src/page.rs`.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

use flate2::Compression;
use flate2::write::GzEncoder;

/// What is taken out of `page/node_modules`: the path there, and the name that the page asks for.
const INSTALLED: [(&str, &str); 5] = [
    ("@xterm/xterm/lib/xterm.mjs", "xterm/xterm.js"),
    ("@xterm/xterm/css/xterm.css", "xterm/xterm.css"),
    ("@xterm/addon-fit/lib/addon-fit.mjs", "xterm/addon-fit.js"),
    (
        "@xterm/addon-search/lib/addon-search.mjs",
        "xterm/addon-search.js",
    ),
    (
        "@xterm/addon-web-links/lib/addon-web-links.mjs",
        "xterm/addon-web-links.js",
    ),
];

/// The files of the page that are served: all in `page/` with one of these ends.
const SERVED: [&str; 6] = ["html", "css", "js", "svg", "png", "webmanifest"];

fn main() -> io::Result<()> {
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
    let page = root.join("page");
    let modules = page.join("node_modules");
    println!("cargo:rerun-if-changed={}", page.display());
    let mut files = Vec::new();
    for entry in fs::read_dir(&page)? {
        let path = entry?.path();
        let is_served = path
            .extension()
            .is_some_and(|end| SERVED.iter().any(|it| end == *it));
        if let (true, Some(name)) = (is_served, path.file_name().and_then(|name| name.to_str())) {
            files.push((name.to_owned(), path.clone()));
        }
    }
    for (from, name) in INSTALLED {
        let path = modules.join(from);
        if path.is_file() {
            files.push((name.to_owned(), path));
        }
    }
    files.sort();
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default());
    let mut list = String::from("&[\n");
    for (at, (name, path)) in files.iter().enumerate() {
        println!("cargo:rerun-if-changed={}", path.display());
        let bytes = fs::read(path)?;
        let digest = digest(&bytes);
        let packed = out.join(format!("{at}.gz"));
        fs::write(&packed, pack(&bytes)?)?;
        let _ = writeln!(
            list,
            "    File {{ name: {name:?}, etag: \"\\\"{digest:016x}\\\"\", packed: include_bytes!({:?}) }},",
            Path::new(&packed)
        );
    }
    list.push_str("]\n");
    fs::write(out.join("files.rs"), list)
}

/// The bytes as gzip, which every browser takes as it is.
fn pack(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut packer = GzEncoder::new(Vec::new(), Compression::best());
    packer.write_all(bytes)?;
    packer.finish()
}

/// FNV-1a: what tells one build's file from another's.
fn digest(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
