//! A serial device that goes away and comes back, and one that is not there yet. It is played by a
//! pty under a link, as udev makes them.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::cable::{event, hear, plug_in, said, serial, settled, unplug};
use crate::common::{add, change, read_until, ring, terminal, wait_for};
use chardev::spec::{OptionValue, Options};
use chardev::{Answer, Chardevs, Event, FrontEnd, Parity, SerialParams};
use rustix::termios::tcgetattr;

fn waiting(device: &Path, ms: i64) -> Options {
    serial(device).with("x-reconnect-ms", OptionValue::Int(ms))
}

/// Whether this process has the kernel watch names.
fn is_watching() -> bool {
    let descriptors = std::fs::read_dir("/proc/self/fdinfo").unwrap().flatten();
    let told = descriptors.map(|fd| std::fs::read_to_string(fd.path()).unwrap_or_default());
    told.into_iter().any(|told| told.contains("inotify wd:"))
}

/// Our descriptors of pseudoterminals that have ended.
fn dead_descriptors() -> usize {
    let ours = std::fs::read_dir("/proc/self/fd").unwrap();
    let targets = ours.filter_map(|entry| std::fs::read_link(entry.unwrap().path()).ok());
    targets
        .filter(|target| target.to_string_lossy().contains("pts/"))
        .filter(|target| target.to_string_lossy().ends_with(" (deleted)"))
        .count()
}

fn console(device: &Path) -> (Chardevs, FrontEnd) {
    let chardevs = Chardevs::new().unwrap();
    add(&chardevs, "con0", &serial(device));
    let front = chardevs.front_end("con0", Arc::new(())).unwrap();
    assert_eq!(event(&front), Event::Opened);
    (chardevs, front)
}

#[test]
fn a_device_that_comes_back_is_taken_up_with_everything_set_again() {
    let dir = tempfile::tempdir().unwrap();
    let device = dir.path().join("ttyUSB0");
    let mut cable = plug_in(&device);
    let (_chardevs, front) = console(&device);
    let params = SerialParams {
        speed: 9600,
        parity: Parity::None,
        data_bits: 8,
        stop_bits: 2,
    };
    assert_eq!(settled(&front, front.set_serial(params)), Answer::Done);
    for round in 0..3 {
        said(&front, "before");
        hear(&mut cable, "before");
        unplug(&device, cable);
        assert_eq!(event(&front), Event::Closed, "{round}");
        assert_eq!(front.write(b"nobody there"), 0);
        wait_for("the closing", || (dead_descriptors() == 0).then_some(()));
        cable = plug_in(&device);
        assert_eq!(event(&front), Event::Opened, "{round}");
        assert_eq!(tcgetattr(&cable).unwrap().output_speed(), 9600);
        cable.write_all(b"from it").unwrap();
        assert_eq!(read_until(&front, 7), b"from it");
    }
}

/// `/dev/serial/by-id` goes away with its last device, and the node may come after the link to it.
#[test]
fn the_directory_of_a_device_may_go_and_come_as_well() {
    let dir = tempfile::tempdir().unwrap();
    let by_id = dir.path().join("serial/by-id");
    let (node, link) = (dir.path().join("ttyUSB0"), by_id.join("usb-adapter"));
    std::fs::create_dir_all(&by_id).unwrap();
    symlink("../../ttyUSB0", &link).unwrap();
    let cable = plug_in(&node);
    let chardevs = Chardevs::new().unwrap();
    add(&chardevs, "con0", &waiting(&link, 60_000));
    let front = chardevs.front_end("con0", Arc::new(())).unwrap();
    assert_eq!(event(&front), Event::Opened);
    unplug(&node, cable);
    std::fs::remove_dir_all(dir.path().join("serial")).unwrap();
    assert_eq!(event(&front), Event::Closed);
    std::fs::create_dir_all(&by_id).unwrap();
    symlink("../../ttyUSB0", &link).unwrap();
    let mut cable = plug_in(&node);
    assert_eq!(event(&front), Event::Opened);
    said(&front, "back");
    hear(&mut cable, "back");
}

/// Either one that is put in the place of the link, or one that comes after it was removed.
#[test]
fn a_link_on_the_way_to_a_device_may_lead_elsewhere() {
    let dir = tempfile::tempdir().unwrap();
    let (way, new) = (dir.path().join("way"), dir.path().join("new"));
    for name in ["a", "b", "c"] {
        std::fs::create_dir_all(dir.path().join(name).join("deep")).unwrap();
    }
    symlink("a", &way).unwrap();
    let device = way.join("deep/tty");
    let cable = plug_in(&device);
    let (_chardevs, front) = console(&device);
    unplug(&device, cable);
    assert_eq!(event(&front), Event::Closed);
    for (name, replaced) in [("b", true), ("c", false)] {
        wait_for("a search", || is_watching().then_some(()));
        let mut cable = plug_in(&dir.path().join(name).join("deep/tty"));
        if !replaced {
            std::fs::remove_file(&way).unwrap();
        }
        symlink(name, &new).unwrap();
        std::fs::rename(&new, &way).unwrap();
        // What is only looked for comes later than a test waits.
        assert_eq!(event(&front), Event::Opened);
        said(&front, name);
        hear(&mut cable, name);
        unplug(&device, cable);
        assert_eq!(event(&front), Event::Closed);
    }
}

#[test]
fn a_device_that_is_missing_at_the_start_is_not_there_yet() {
    let dir = tempfile::tempdir().unwrap();
    let device = dir.path().join("deep/down/ttyACM0");
    let chardevs = Chardevs::new().unwrap();
    let without = chardevs.block_on(chardevs.add("con0", &serial(&device)));
    let error = without.unwrap_err().to_string();
    assert!(error.ends_with("No such file or directory"), "{error}");
    add(&chardevs, "con0", &waiting(&device, 60_000));
    let front = chardevs.front_end("con0", Arc::new(())).unwrap();
    assert!(!front.is_open());
    assert_eq!(front.write(b"held"), 0);
    std::fs::create_dir_all(device.parent().unwrap()).unwrap();
    // What is there first is no device, and cannot be taken for one.
    std::fs::write(&device, "").unwrap();
    std::fs::remove_file(&device).unwrap();
    let mut cable = plug_in(&device);
    assert_eq!(event(&front), Event::Opened);
    said(&front, "there");
    hear(&mut cable, "there");
    // A regular file stays refused, and so does nonsense.
    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    for options in [waiting(&file, 1000), waiting(&device, -1)] {
        change(&chardevs, "con0", &options).unwrap_err();
    }
}

#[test]
fn what_waits_for_a_device_reaches_it_when_it_comes() {
    let dir = tempfile::tempdir().unwrap();
    let device = dir.path().join("ttyS9");
    let chardevs = Chardevs::new().unwrap();
    let options = waiting(&device, 60_000)
        .with("x-closed", OptionValue::Str("history".to_owned()))
        .with("x-history", OptionValue::Int(64));
    add(&chardevs, "con0", &options);
    let front = chardevs.front_end("con0", Arc::new(())).unwrap();
    said(&front, "early words");
    let mut cable = plug_in(&device);
    hear(&mut cable, "early words");
}

#[test]
fn a_change_works_while_the_device_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let device = dir.path().join("ttyUSB0");
    let cable = plug_in(&device);
    let (chardevs, front) = console(&device);
    unplug(&device, cable);
    assert_eq!(event(&front), Event::Closed);
    // To the same device: refused while it is not there, and harmless.
    change(&chardevs, "con0", &serial(&device)).unwrap_err();
    change(&chardevs, "con0", &waiting(&device, 60_000)).unwrap();
    assert!(!front.is_open());
    let mut cable = plug_in(&device);
    wait_for("the device", || front.is_open().then_some(()));
    said(&front, "one");
    hear(&mut cable, "one");
    // To something else: the device that comes then concerns nobody.
    unplug(&device, cable);
    wait_for("the end", || (!front.is_open()).then_some(()));
    change(&chardevs, "con0", &ring(64)).unwrap();
    let cable = plug_in(&device);
    said(&front, "to the ring");
    let settled = chardevs.wakeups();
    assert_eq!(chardevs.ring_read("con0", 64).unwrap(), b"to the ring");
    assert_eq!(chardevs.wakeups(), settled);
    drop(cable);
}

/// The number of a pseudoterminal that has ended goes to whoever comes next: a link that still
/// leads there leads to a stranger's terminal.
#[test]
fn a_strangers_terminal_under_an_old_name_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let link = dir.path().join("ttyV0");
    let (cable, device) = terminal();
    symlink(&device, &link).unwrap();
    let (_chardevs, front) = console(&link);
    drop(cable);
    assert_eq!(event(&front), Event::Closed);
    wait_for("the closing", || (dead_descriptors() == 0).then_some(()));
    let others: Vec<(File, PathBuf)> = (0..4)
        .map(|_| {
            let (cable, device) = terminal();
            (cable, PathBuf::from(device))
        })
        .collect();
    let stranger = others.iter().find(|(_, name)| name.as_os_str() == &*device);
    // Unless another process was faster, one of them has the number.
    if let Some((cable, _)) = stranger {
        let before = tcgetattr(cable).unwrap();
        // What comes next is noticed, so what came before would have been.
        std::fs::remove_file(&link).unwrap();
        let mut own = plug_in(&link);
        assert_eq!(event(&front), Event::Opened);
        said(&front, "mine");
        hear(&mut own, "mine");
        assert_eq!(tcgetattr(cable).unwrap().local_modes, before.local_modes);
    }
}

/// A device that hangs up as soon as it is opened is tried less and less often.
#[test]
fn a_device_that_comes_and_goes_does_not_keep_the_io_thread_busy() {
    let dir = tempfile::tempdir().unwrap();
    let device = dir.path().join("ttyUSB0");
    let mut cable = plug_in(&device);
    let (_chardevs, front) = console(&device);
    let began = Instant::now();
    let mut openings: u32 = 0;
    // A quarter of a second, a half, one …: the third opening comes after three quarters.
    while openings < 4 {
        unplug(&device, cable);
        assert_eq!(event(&front), Event::Closed);
        cable = plug_in(&device);
        assert_eq!(event(&front), Event::Opened);
        openings += 1;
    }
    assert!(began.elapsed() >= Duration::from_millis(250 + 500 + 1000));
}
