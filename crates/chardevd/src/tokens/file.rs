//! The file of the tokens: JSON that only its owner can read, replaced as a whole.
#![allow(clippy::disallowed_methods, reason = "on a thread that may wait")]

use std::collections::BTreeSet;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use chardev::text::shown_path;
use chardev_monitor::{Digest, Json, Object, Role, Token};

/// The largest file that is read.
const LARGEST: u64 = 16 << 20;
/// For the group or others.
const FOREIGN: u32 = 0o077;

/// Reads the tokens in `file`; where there is no file there are none.
///
/// # Errors
/// The file, why it cannot be used, and what to do.
pub(super) fn read(file: &Path) -> Result<Vec<Token>, String> {
    let name = shown_path(file);
    let mut options = OpenOptions::new();
    // What is no file must not make us wait.
    let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
    let opened = match options.read(true).custom_flags(flags).open(file) {
        Ok(opened) => opened,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(format!("the tokens in {name} cannot be read: {error}")),
    };
    check(file, &opened)?;
    let mut text = String::new();
    let read = opened.take(LARGEST + 1).read_to_string(&mut text);
    let read = read.map_err(|error| format!("the tokens in {name} cannot be read: {error}"))?;
    if read as u64 > LARGEST {
        return Err(format!("{name} is too large to be a file of tokens"));
    }
    let tokens = Json::parse(&text).ok().and_then(|json| understand(&json));
    tokens.ok_or_else(|| {
        format!("{name} is no file of tokens, or is damaged; move it away to begin without tokens")
    })
}

/// Who can write the file gives rights, so that must be nobody else.
fn check(file: &Path, opened: &File) -> Result<(), String> {
    let name = shown_path(file);
    let found = opened.metadata();
    let found = found.map_err(|error| format!("the tokens in {name} cannot be read: {error}"))?;
    let own = rustix::process::geteuid().as_raw();
    if !found.is_file() {
        return Err(format!("{name} is no file, so it has no tokens"));
    }
    if found.uid() != own && found.uid() != 0 {
        return Err(format!(
            "{name} belongs to user {}, who could make tokens; run chown on it",
            found.uid()
        ));
    }
    if found.mode() & FOREIGN != 0 {
        return Err(format!("{name} is open to others; run chmod 600 on it"));
    }
    Ok(())
}

/// Puts a file with these tokens in the place of `file`.
///
/// # Errors
/// The file, and why it is as it was.
pub(super) fn write(file: &Path, tokens: &[Token]) -> Result<(), String> {
    let name = shown_path(file);
    let written = replace(file, &tell(tokens));
    written.map_err(|error| {
        format!("{name} cannot be written, so the tokens are as they were: {error}")
    })
}

fn replace(file: &Path, text: &str) -> io::Result<()> {
    let dir = file.parent().filter(|dir| !dir.as_os_str().is_empty());
    let dir = dir.unwrap_or(Path::new("."));
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    let mut beside = file.as_os_str().to_owned();
    beside.push(".new");
    let beside = PathBuf::from(beside);
    // One that a crash has left may be anything.
    match std::fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    let written = options.open(&beside).and_then(|mut new| {
        new.write_all(text.as_bytes())?;
        new.sync_all()?;
        std::fs::rename(&beside, file)
    });
    if written.is_err() {
        // What is left of it is in nobody's way.
        let _ = std::fs::remove_file(&beside);
        return written;
    }
    // The new one is in its place; a directory that cannot be synchronized only makes it later.
    let _ = File::open(dir).and_then(|dir| dir.sync_all());
    Ok(())
}

fn tell(tokens: &[Token]) -> String {
    let all = tokens.iter().map(|token| {
        let hex: String = token
            .digest
            .0
            .iter()
            .map(|it| format!("{it:02x}"))
            .collect();
        let mut told = Object::new()
            .with("name", token.name.as_str())
            .with("sha256", hex)
            .with("role", token.role.name())
            .with("created", token.created);
        if let Some(consoles) = &token.consoles {
            let names = consoles.iter().map(|name| Json::from(name.as_str()));
            told.insert("consoles", names.collect::<Vec<_>>());
        }
        if let Some(expires) = token.expires {
            told.insert("expires", expires);
        }
        Json::from(told)
    });
    let all = Object::new().with("tokens", all.collect::<Vec<_>>());
    format!("{}\n", Json::from(all).to_pretty_string())
}

/// What is told of them, unless something is not as we write it: then no right is to come of it.
fn understand(json: &Json) -> Option<Vec<Token>> {
    let all = json.get("tokens")?.as_array()?;
    let tokens: Vec<Token> = all.iter().map(understand_one).collect::<Option<_>>()?;
    let names: BTreeSet<&str> = tokens.iter().map(|token| token.name.as_str()).collect();
    (names.len() == tokens.len()).then_some(tokens)
}

fn understand_one(json: &Json) -> Option<Token> {
    let Json::Object(members) = json else {
        return None;
    };
    let known = ["name", "sha256", "role", "created", "consoles", "expires"];
    if members.iter().any(|(name, _)| !known.contains(&name)) {
        return None;
    }
    let text = |key| json.get(key)?.as_str();
    let time = |key| u64::try_from(json.get(key)?.as_i64()?).ok();
    let consoles = match json.get("consoles") {
        None => None,
        Some(names) => {
            let names = names.as_array()?.iter();
            let names = names.map(|name| name.as_str().map(str::to_owned));
            Some(names.collect::<Option<BTreeSet<_>>>()?)
        }
    };
    let expires = match json.get("expires") {
        None => None,
        Some(_) => Some(time("expires")?),
    };
    Some(Token {
        name: text("name").filter(|name| Token::is_name(name))?.to_owned(),
        digest: digest(text("sha256")?)?,
        role: text("role")?.parse::<Role>().ok()?,
        consoles,
        created: time("created")?,
        expires,
    })
}

fn digest(hex: &str) -> Option<Digest> {
    let mut bits = [0; 32];
    if hex.len() != 2 * bits.len() || !hex.is_ascii() {
        return None;
    }
    for (at, byte) in bits.iter_mut().enumerate() {
        let digits = &hex[2 * at..2 * at + 2];
        if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return None;
        }
        *byte = u8::from_str_radix(digits, 16).ok()?;
    }
    Some(Digest(bits))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn token(name: &str) -> Token {
        Token {
            name: name.to_owned(),
            digest: Digest([7; 32]),
            role: Role::Attach,
            consoles: Some(["con0", "rack"].map(str::to_owned).into()),
            created: 5,
            expires: Some(9),
        }
    }

    #[test]
    fn what_is_written_is_read_and_only_we_can() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("new/tokens");
        assert_eq!(read(&file), Ok(Vec::new()));
        let everywhere = Token {
            consoles: None,
            expires: None,
            ..token("b")
        };
        let all = vec![token("a"), everywhere];
        write(&file, &all).expect("it is written");
        assert_eq!(read(&file), Ok(all));
        let mode = |path: &Path| path.metadata().expect("it is there").mode() & 0o777;
        assert_eq!(
            (mode(&file), mode(file.parent().expect("new"))),
            (0o600, 0o700)
        );
        std::fs::set_permissions(&file, PermissionsExt::from_mode(0o640)).expect("chmod");
        let refused = read(&file).expect_err("others can read it");
        assert!(refused.contains("chmod 600"), "{refused}");
    }

    #[test]
    fn a_file_that_is_not_as_we_write_it_gives_nobody_rights() {
        let good = tell(&[token("a")]);
        let understood = |text: &str| Json::parse(text).ok().and_then(|json| understand(&json));
        assert!(understood(&good).is_some());
        for (part, other) in [
            ("\"attach\"", "\"root\""),
            ("\"consoles\"", "\"console\""),
            ("\"rack\"", "7"),
            ("\"a\"", "\"a b\""),
            ("07", "0g"),
            ("07", "+7"),
            ("07", "7"),
            ("\"expires\": 9", "\"expires\": -9"),
            ("\"tokens\"", "\"token\""),
        ] {
            let bad = good.replacen(part, other, 1);
            assert_ne!(good, bad, "{part}");
            assert_eq!(understood(&bad), None, "{bad}");
        }
        assert_eq!(understood(&tell(&[token("a"), token("a")])), None);
    }

    #[test]
    fn where_it_cannot_be_written_the_old_one_stays() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("tokens");
        write(&file, &[token("a")]).expect("it is written");
        // A directory that is not empty cannot be removed, whoever we are.
        std::fs::create_dir_all(dir.path().join("tokens.new/x")).expect("a directory");
        let refused = write(&file, &[]).expect_err("the place is taken");
        assert!(refused.contains("as they were"), "{refused}");
        assert_eq!(read(&file), Ok(vec![token("a")]));
        let full = write(Path::new("/dev/full/tokens"), &[]);
        assert!(full.is_err());
        let fifo = dir.path().join("fifo");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &fifo,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::from_raw_mode(0o600),
            0,
        )
        .expect("a FIFO");
        assert!(read(&fifo).is_err());
    }
}
