//! The real daemon with more devices than any pool has threads.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use crate::daemon_rig::{DEADLINE, Daemon};

/// tokio's pool for what blocks has 512 threads.
const DEVICES: usize = 560;
/// `VHOST_USER_GET_FEATURES`, version 1, no payload.
const GET_FEATURES: [u32; 3] = [1, 1, 0];

#[test]
fn each_of_many_vhost_user_devices_answers() {
    let dir = tempfile::tempdir().unwrap();
    let mut arguments = Vec::new();
    for index in 0..DEVICES {
        let socket = dir.path().join(index.to_string());
        arguments.push("-chardev".to_owned());
        arguments.push(format!("null,id=c{index}"));
        arguments.push("-device".to_owned());
        arguments.push(format!(
            "vhost-user-console,chardev=c{index},socket={}",
            socket.display()
        ));
    }
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let mut daemon = Daemon::start(&arguments);
    for index in (0..DEVICES).rev().step_by(40) {
        let mut vmm = UnixStream::connect(dir.path().join(index.to_string())).unwrap();
        vmm.set_read_timeout(Some(DEADLINE)).unwrap();
        let request: Vec<u8> = GET_FEATURES
            .iter()
            .flat_map(|word| word.to_le_bytes())
            .collect();
        vmm.write_all(&request).unwrap();
        let mut answer = [0; 20];
        vmm.read_exact(&mut answer)
            .unwrap_or_else(|error| panic!("device {index} does not answer: {error}"));
    }
    let (status, said) = daemon.terminate();
    assert!(status.success(), "{said}");
}
