//! A console that is in a fleet: `one_console nats://HOST:4222` prints a line, waits until the
//! stream has it, and reads it back there.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use chardev::Chardevs;
use chardev::spec::Options;
use chardev_fleet::reader::Found;
use chardev_fleet::subject::Name;
use chardev_fleet::{Archive, Fleet, Progress, Settings, StreamSettings, Until};

fn main() -> Result<(), Box<dyn Error>> {
    let server = std::env::args().nth(1).ok_or("which server?")?;
    let settings = Settings {
        servers: vec![server],
        cluster: "example".to_owned(),
        host: "here".to_owned(),
        stream: StreamSettings {
            name: StreamSettings::usual_name("example"),
            ..StreamSettings::default()
        },
        ..Settings::default()
    };
    let chardevs = Chardevs::new()?;
    let all = Arc::new(|_: &mut Vec<String>| {});
    let fleet = Fleet::start(&chardevs, settings.clone(), all, Progress::default())?;
    chardevs.blocking_add("con0", Options::new("null"))?;
    chardevs.attach("con0")?.write(b"hello from here\n");
    chardevs.block_on(chardevs.shut_down(Duration::from_secs(1)));
    fleet.finish(Duration::from_secs(10));

    let name = Name {
        cluster: settings.cluster.clone(),
        host: settings.host.clone(),
        console: "con0".to_owned(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let archive = Archive::open(&settings).await?;
        let each = |found| {
            if let Found::Output { offset, bytes, .. } = found {
                println!("{offset}: {}", String::from_utf8_lossy(&bytes).trim_end());
            }
            true
        };
        archive.read(&name, Until::Now, each).await
    })?;
    Ok(())
}
