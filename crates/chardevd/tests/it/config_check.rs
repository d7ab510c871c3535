//! A configuration that is wrong, and all that is said about it; and one that is right.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::daemon_rig::chardevd;
use crate::interop::python;
use crate::stories::documents;

/// What `--check` says of these files, the first of which is named; the directory is cut out.
fn check(files: &[(&str, &str)]) -> (bool, String) {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let file = dir.path().join(files[0].0);
    let output = chardevd(&["--config", file.to_str().unwrap(), "--check"]);
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8(said).unwrap();
    let directory = format!("{}/", dir.path().display());
    (output.status.success(), said.replace(&directory, ""))
}

/// Everything that is wrong with one file.
fn mistakes(text: &str) -> String {
    let (good, said) = check(&[("f.toml", text)]);
    assert!(!good, "{said}");
    said
}

#[test]
fn a_good_file_is_ok_and_counted() {
    let text = "
        [template.t]\nexec = 'cat'\nto = 'socket,path=/run/{name}-{n}-{port},server=on'\n
        [[lines]]\ntemplate = 't'\nnames = ['a', 'r[08-11]']\nport = 7000\n
        [console.one]\nexec = ['sh', '-c', 'echo $1 ${name} {other}']\n
        [console.off]\nserial = '/dev/ttyS0'\nenabled = false\n
        [console.usb]\nserial = { path = '/dev/ttyS0', x-parity = 'even' }\nbaud = 9600\n
        [console.far]\nsocket = 'host:23'\npolicy = { x-closed = 'hold' }\nhistory = '1M'\n
        [console.vm]\nvhost-user = { socket = '/run/vm', max-ports = 2 }\n
        log = { file = '/var/log/vm', size = '1M', count = 3, append = false }\n
        [chardev.base]\nline = 'null'\n[chardev.all]\nkind = 'hub'\nchardevs = ['base']\n
        [[device]]\nline = 'virtconsole,bus=vm.0,chardev=base'\n
        [[object]]\nqom-type = 'authz-simple'\nid = 'me'\nidentity = 'CN=me'\n
        [[monitor]]\nlisten = { kind = 'socket', path = '/run/q', server = true }\n";
    let (good, said) = check(&[("f.toml", text)]);
    assert!(good, "{said}");
    assert_eq!(said, "9 consoles, ok\n");
}

#[test]
fn all_that_is_wrong_is_told_with_its_place_and_what_to_do() {
    let said = mistakes(
        "[default]\n\
         [console.a]\n\
         exex = 'x'\n\
         exec = 7\n\
         [console.b]\n\
         exec = 'x'\n\
         to = { kind = 'socket', pth = '/x' }\n\
         policy = { x-closed = 'never', x-clsoed = 'hold' }\n\
         log = { fle = 'x' }\n\
         [console.c]\n\
         exec = 'x'\n\
         serial = '/dev/x'\n\
         baud = 9600\n\
         history = '64X'\n\
         [[lines]]\n\
         template = 'nope'\n\
         names = 'r[3-1]'\n\
         [chardev.'9x']\n\
         line = 'sokcet,path=/x'\n\
         [[device]]\n\
         line = 'exce,chardev=a'\n\
         [[monitor]]\n\
         mode = 'contol'\n\
         listen = 'unix:/x'\n",
    );
    let expected = "\
f.toml:1:2: there is no section 'default'
    did you mean 'defaults'?
f.toml:3:1: there is no key 'exex' in [console.a]
    did you mean 'exec'?
f.toml:4:8: 'exec' is a number
    it has to be text or a list of texts
f.toml:7:25: a socket has no option 'pth'
    did you mean 'path'?
f.toml:8:23: Parameter 'x-closed' does not accept value 'never'
f.toml:8:32: there is no key 'x-clsoed' in 'policy'
    did you mean 'x-closed'?
f.toml:9:7: the log has no file
    add file = \"…\", or write log = \"FILE\"
f.toml:9:9: there is no key 'fle' in 'log'
    did you mean 'file'?
f.toml:12:1: console 'c' comes from 'exec' already
    a console has one source: leave one of them out
f.toml:14:11: 'history' is text
    it has to be a number of bytes, or text such as \"64K\"
f.toml:17:9: 'r[3-1]' counts down
    write rack[01-48], or each name by itself
f.toml:18:10: '9x' cannot be a name
    names have letters, digits, '-', '.' and '_', and begin with a letter
f.toml:19:8: there is no kind of back end 'sokcet'
    did you mean 'socket'?
f.toml:21:8: 'exce' is not a valid device model name
    'chardevd --device help' lists the devices and their options
f.toml:23:8: there is no mode 'contol'
    did you mean 'control'?
";
    assert_eq!(said, expected);
}

#[test]
fn a_console_without_a_source_and_one_with_a_key_of_another_are_refused() {
    let said = mistakes(
        "[console.a]\nto = 'pty'\n[console.b]\nexec = 'x'\nbaud = 9600\n\
         [console.c]\nsocket = 'nowhere'\n[console.d]\nexec = '{port}'\n",
    );
    for line in [
        "f.toml:1:10: nothing says where console 'a' comes from",
        "f.toml:5:1: 'baud' belongs to 'serial', and this is 'exec'",
        "f.toml:7:10: 'nowhere' is neither HOST:PORT nor a path",
        "f.toml:9:8: nothing says what {port} is for console 'd'",
    ] {
        assert!(
            said.lines().any(|said| said == line),
            "{line} not in {said}"
        );
    }
}

#[test]
fn what_two_want_is_an_error_that_names_both() {
    let said = mistakes(
        "[console.a]\nexec = 'x'\nto = 'socket,host=::,port=7000,server=on'\nlog = '/l'\n\
         [console.b]\nexec = 'x'\nto = 'socket,host=::,port=7000,server=on'\nlog = '/l'\n\
         [console.a-line]\nserial = '/dev/t'\n[console.c]\nserial = '/dev/t'\n",
    );
    let expected = "\
f.toml:5:10: b: port 7000 on '::' is taken
    a has it, at f.toml:1:10
f.toml:5:10: b: the log /l is taken
    a has it, at f.toml:1:10
f.toml:11:10: c: the device /dev/t is taken
    a-line has it, at f.toml:9:10
";
    assert_eq!(said, expected);
    let said = mistakes("[console.a]\nexec = 'x'\n[console.a]\nexec = 'y'\n");
    let expected = "f.toml:3:10: duplicate key\n    the other one is at f.toml:1:1\n";
    assert!(said.starts_with(expected), "{said}");
}

#[test]
fn files_beside_it_are_read_by_name_and_one_console_cannot_be_in_two() {
    let (good, said) = check(&[
        (
            "etc/f.toml",
            "[defaults]\nhistory = 0\n[console.a]\nexec = 'x'\n",
        ),
        ("etc/conf.d/20.toml", "[console.a]\nexec = 'y'\n"),
        ("etc/conf.d/10.toml", "[console.b]\nexec = 'z'\n"),
        ("etc/conf.d/not.txt", "nonsense"),
    ]);
    assert!(!good);
    let expected = "etc/conf.d/20.toml:1:10: console 'a' is there twice\n    \
                    the other one is at etc/f.toml:3:10\n";
    assert_eq!(said, expected);
    let (good, said) = check(&[
        ("etc/f.toml", "[console.a]\nexec = 'x'\n"),
        ("etc/conf.d/10.toml", "[console.b]\nexec = 'z'\n"),
    ]);
    assert!(good && said == "2 consoles, ok\n", "{said}");
}

#[test]
fn a_file_that_cannot_be_read_or_is_no_toml_says_so() {
    let output = chardevd(&["--config", "/nowhere/f.toml", "--check"]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success());
    assert!(
        said.starts_with("/nowhere/f.toml: cannot read it: No such file"),
        "{said}"
    );
    let said = mistakes("[console.a]\nexec = \"x\n");
    assert!(
        said.starts_with("f.toml:2:10: invalid basic string"),
        "{said}"
    );
}

/// Every block of TOML in the documentation, with the file and line it is at.
fn documented() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut blocks = Vec::new();
    for name in documents() {
        let text = fs::read_to_string(root.join(&name)).unwrap();
        let mut block: Option<(String, String)> = None;
        for (number, line) in text.lines().enumerate() {
            match &mut block {
                None if line == "```toml" => {
                    block = Some((format!("{name}:{}", number + 1), String::new()));
                }
                None => {}
                Some(_) if line == "```" => blocks.extend(block.take()),
                Some((_, text)) => {
                    text.push_str(line);
                    text.push('\n');
                }
            }
        }
    }
    blocks
}

/// Checks one of the documents' configurations. A build without fleets takes all of them but one of
/// a fleet, of which it says so.
fn check_documented(text: &str) -> (bool, String) {
    let (good, said) = check(&[("f.toml", text)]);
    let lacks = !cfg!(feature = "fleet") && text.contains("[fleet]");
    match lacks {
        true => (!good && said.contains("built without fleets"), said),
        false => (good, said),
    }
}

#[cfg(feature = "fleet")]
#[test]
fn what_is_wrong_with_a_fleet_is_told() {
    let begin = "[fleet]\nservers = ['nats://h:4222']\n";
    for (text, wanted) in [
        ("presence = 'soon'", "'presence' is no time"),
        ("presence = '30'", "or \"0s\" for none"),
        ("presence = 30", "presence"),
        ("stream = { max-age = '1y' }", "'max-age' is no time"),
        ("stream = { replicas = 2 }", "1, 3 or 5"),
        ("qmp = 'root'", "root"),
    ] {
        let (good, said) = check(&[("f.toml", &format!("{begin}{text}\n"))]);
        assert!(!good && said.contains(wanted), "{text}: {said}");
    }
    for text in ["", "presence = '0s'", "presence = '2m'"] {
        let (good, said) = check(&[("f.toml", &format!("{begin}{text}\n"))]);
        assert!(good, "{text}: {said}");
    }
}

#[test]
fn what_the_documentation_shows_is_good() {
    let blocks = documented();
    assert!(blocks.len() >= 3, "{blocks:?}");
    for (place, text) in blocks {
        let (good, said) = check_documented(&text);
        assert!(good, "{place}: {said}");
    }
}

#[test]
fn the_schema_takes_what_the_reader_takes_and_refuses_what_it_refuses() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_chardevd"));
    let schema = command.arg("--config-schema").output().unwrap();
    fs::write(dir.path().join("schema.json"), schema.stdout).unwrap();
    let wrong = [
        "[console.a]\nexex = 'x'\n",
        "[console.a]\nexec = 7\n",
        "[console.a]\nexec = 'x'\nto = { kind = 'socket', pth = '/x' }\n",
        "[console.a]\nexec = 'x'\npolicy = { x-closed = 'never' }\n",
        "[console.a]\nexec = 'x'\nlog = { fle = 'x' }\n",
        "[[lines]]\nnames = ['a']\n",
        "[[device]]\ndriver = 'exce'\n",
        "[[monitor]]\nmode = 'control'\n",
        "[defalts]\n",
    ];
    let right = documented();
    assert!(!right.is_empty());
    let right = right.into_iter().map(|(_, text)| ("right", text));
    let wrong = wrong.map(|text| ("wrong", text.to_owned()));
    for (number, (verdict, text)) in right.chain(wrong).enumerate() {
        let (good, said) = check_documented(&text);
        assert_eq!(good, verdict == "right", "{text}: {said}");
        fs::write(dir.path().join(format!("{number}.{verdict}.toml")), text).unwrap();
    }
    let script = "
import json, pathlib, sys, tomllib
import jsonschema
root = pathlib.Path(sys.argv[1])
schema = json.loads((root / 'schema.json').read_text())
jsonschema.Draft202012Validator.check_schema(schema)
validator = jsonschema.Draft202012Validator(schema)
for path in sorted(root.glob('*.toml')):
    errors = list(validator.iter_errors(tomllib.loads(path.read_text())))
    if ('right' in path.name) != (not errors):
        sys.exit(f'{path.name}: {path.read_text()}\\n{errors}')
";
    let mut command = Command::new(python());
    let output = command
        .args(["-c", script])
        .arg(dir.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
}

/// Whoever can reach it could do everything, so it has to ask who comes, or say so in capitals.
#[test]
fn a_monitor_on_a_network_asks_who_comes_or_says_what_it_lets_them_do() {
    let tcp = "[[monitor]]\nlisten = 'tcp:127.0.0.1:0,server=on,wait=off'\n";
    let creds = "[[object]]\nline = 'tls-creds-x509,id=t,dir=.,endpoint=server'\n";
    let tls = "[[monitor]]\nlisten = 'tcp:127.0.0.1:0,server=on,wait=off,tls-creds=t'\n";
    let unverified = creds.replace("server'", "server,verify-peer=off'");
    let on = "[chardev.q]\nline = 'socket,host=127.0.0.1,port=0,server=on,wait=off'\n\
              [[monitor]]\nlisten = 'chardev:q'\n";
    let udp = "[[monitor]]\nlisten = 'udp::9'\n";
    for (refused, hint) in [
        (tcp.to_owned(), "add a section [tokens]"),
        (
            format!("{tcp}auth = 'required'\n"),
            "add a section [tokens]",
        ),
        (
            format!("{tcp}role = 'admin'\n"),
            "ANYBODY-MAY-DO-EVERYTHING",
        ),
        (
            format!("{tcp}role = 'change'\n"),
            "ANYBODY-MAY-DO-EVERYTHING",
        ),
        (format!("{unverified}{tls}"), "tls-creds"),
        (format!("[tokens]\n{tcp}mode = 'readline'\n"), "tls-creds"),
        (on.to_owned(), "[tokens]"),
        (
            on.replace("'chardev:q'", "'chardev:m'") + "[chardev.m]\nkind = 'mux'\nchardev = 'q'\n",
            "[tokens]",
        ),
        (udp.to_owned(), "a Unix socket"),
        (format!("[tokens]\n{udp}"), "a Unix socket"),
        (
            tcp.to_owned() + "auth = 'anybody-may-do-everything'\n",
            "there are: required",
        ),
    ] {
        let said = mistakes(&refused);
        assert!(said.contains(hint), "{refused}{said}");
    }
    for good in [
        format!("[tokens]\n{tcp}"),
        format!("[tokens]\n{on}"),
        format!("{tcp}role = 'view'\n"),
        format!("{tcp}auth = 'ANYBODY-MAY-DO-EVERYTHING'\n"),
        format!("{creds}{tls}"),
        format!("{unverified}{tls}[tokens]\n"),
        "[[monitor]]\nlisten = 'unix:/run/q,server=on,wait=off'\n".to_owned(),
    ] {
        let (ok, said) = check(&[("f.toml", &good)]);
        assert!(ok, "{good}{said}");
    }
}
