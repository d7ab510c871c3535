//! The web page at the path of a Unix socket, for a server in front, with curl as that server.

use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;

use chardev_qapi::Json;

use crate::ctl_rig::{Daemon, text, until};
use crate::daemon_rig::chardevd;

const CONSOLES: &str = "
    [console.con0]\nto = 'ringbuf'\nexec = 'cat'\n
    [console.other]\nto = 'ringbuf'\nexec = 'cat'\n
    [[access]]\nrole = 'attach'\nusers = 'daemon'\nconsoles = 'con0'\n";
/// What browsers know the page as.
const HOST: &str = "https://consoles.example";

struct Page {
    daemon: Daemon,
    dir: tempfile::TempDir,
}

impl Page {
    /// One that is served at `web` in its directory, with more of this in its section.
    fn new(more: &str) -> Page {
        let dir = tempfile::tempdir().expect("a directory");
        // Somebody who has died has left one there.
        drop(UnixListener::bind(dir.path().join("web")).expect("a socket"));
        write(dir.path(), more);
        let file = dir.path().join("chardevd.toml");
        let daemon = Daemon::with(&["--config", file.to_str().expect("a path")]);
        let page = Page { daemon, dir };
        until("it is served", || page.status("/healthz", &[]) == "200");
        page
    }

    /// What curl says that the page says to a request with these arguments, and the status.
    fn ask(&self, path: &str, more: &[&str]) -> (String, String) {
        let output = Command::new("curl")
            .args([
                "--silent",
                "--max-time",
                "60",
                "--write-out",
                "\n%{http_code}",
            ])
            .arg("--unix-socket")
            .arg(self.dir.path().join("web"))
            .args(more)
            .arg(format!("http://consoles.example{path}"))
            .output()
            .expect("curl runs");
        let said = text(&output.stdout);
        let (body, status) = said.rsplit_once('\n').expect("a status");
        (body.to_owned(), status.to_owned())
    }

    fn status(&self, path: &str, more: &[&str]) -> String {
        self.ask(path, more).1
    }

    fn mode(&self) -> u32 {
        let found = std::fs::metadata(self.dir.path().join("web")).expect("a socket");
        found.permissions().mode() & 0o7777
    }
}

fn write(dir: &Path, more: &str) {
    let path = dir.join("web");
    let web = format!(
        "[web]\nlisten = 'unix:{}'\nhosts = ['consoles.example']\n",
        path.display()
    );
    let file = dir.join("chardevd.toml");
    std::fs::write(file, format!("{web}{more}\n{CONSOLES}")).expect("a file");
}

const ME: &str = "/api/v1/me";

#[test]
fn a_proxy_at_a_path_says_who_asks() {
    let page = Page::new("mode = '0660'\nproxy = { header = 'X-User' }\n");
    assert_eq!(page.mode(), 0o660);
    let (me, status) = page.ask(ME, &["-H", "X-User: daemon"]);
    assert_eq!(status, "200", "{me}");
    let me = Json::parse(&me).expect("JSON");
    let member = |name: &str| me.get(name).and_then(Json::as_str);
    assert_eq!(member("how"), Some("proxy"), "{me}");
    let uid = rustix::process::geteuid().as_raw();
    let who = format!("daemon, by the proxy at uid {uid}");
    assert!(member("who") == Some(&who), "{me}");
    let consoles = page.ask("/api/v1/consoles", &["-H", "X-User: daemon"]).0;
    assert!(
        consoles.contains(r#""con0""#) && !consoles.contains(r#""other""#),
        "{consoles}"
    );
    // Nobody is anybody by connecting alone.
    assert_eq!(page.status(ME, &[]), "401");
    assert_eq!(page.status(ME, &["-H", "Host: elsewhere"]), "421");
    // A change of who may connect is a reload.
    write(
        page.dir.path(),
        "mode = '0600'\nproxy = { header = 'X-User' }\n",
    );
    page.daemon.succeed(&["reload"]);
    until("nobody else may connect", || page.mode() == 0o600);
    assert_eq!(page.status(ME, &["-H", "X-User: daemon"]), "200");
    let path = page.dir.path().join("web");
    page.daemon.succeed(&["qmp", "quit"]);
    until("the path is gone", || !path.exists());
}

#[test]
fn a_link_leads_to_the_server_in_front_and_a_process_of_another_user_is_no_proxy() {
    let page = Page::new("proxy = 'nobody'\n");
    assert_eq!(page.mode(), 0o600);
    let (said, status) = page.ask(ME, &["-H", "X-Remote-User: root"]);
    assert_eq!(status, "403", "{said}");
    let url = page.daemon.succeed(&["web", "--print"]);
    let code = url
        .trim()
        .strip_prefix(HOST)
        .and_then(|it| it.strip_prefix("/login#"));
    let body = format!(r#"{{"code": "{}"}}"#, code.expect("a link"));
    let cookies = page.dir.path().join("cookies");
    let jar = cookies.to_str().expect("a path");
    let origin = format!("Origin: {HOST}");
    let by = "X-Requested-By: chardev";
    let login = ["-c", jar, "-H", &origin, "-H", by, "-d", &body];
    let (said, status) = page.ask("/api/v1/login", &login);
    assert_eq!(status, "200", "{said}");
    assert_eq!(page.status(ME, &["-b", jar]), "200");
    assert_eq!(page.status(ME, &[]), "401");
}

#[test]
fn what_is_wrong_with_a_path_is_told() {
    let check = |text: &str| {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("f.toml");
        std::fs::write(&file, text).expect("a file");
        let output = chardevd(&["--config", file.to_str().expect("a path"), "--check"]);
        crate::ctl_rig::text(&[output.stdout, output.stderr].concat())
    };
    let at_path = "[web]\nlisten = 'unix:web'\n";
    for (text, wanted) in [
        (
            "[web]\nlisten = 'unix:'\n",
            "is neither HOST:PORT nor unix:PATH",
        ),
        (&format!("{at_path}mode = '0999'\n"), "'0999' is no mode"),
        (
            &format!("{at_path}group = 'nosuch'\n"),
            "there is no group 'nosuch'",
        ),
        (
            &format!("{at_path}proxy = {{ users = 'nosuch' }}\n"),
            "there is no user 'nosuch'",
        ),
        (
            &format!("{at_path}proxy = {{ from = '::1' }}\n"),
            "who connects to a path has no address",
        ),
        (
            "[web]\nlisten = ':1'\nmode = '0660'\n",
            "'mode' and 'group' are for a page that listens at a path",
        ),
        (
            "[web]\nlisten = ':1'\nproxy = { users = 'root' }\n",
            "who connects to an address may be anybody",
        ),
        (
            &format!("{at_path}mode = '0660'\ngroup = 'daemon'\nproxy = {{ users = 'root' }}\n"),
            "ok",
        ),
    ] {
        let said = check(text);
        assert!(said.contains(wanted), "{text}: {said}");
    }
}
