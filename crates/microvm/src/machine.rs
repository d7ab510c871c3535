//! The machine: one vCPU, run until the guest or the host ends it.

use std::path::PathBuf;
use std::sync::Arc;

use chardev::Chardevs;
use chardev::front::uart16550::SharedUart;
use chardev::front::virtio_console::{PortConfig, PortWatch};
use chardevd::DaemonError;
use kvm_bindings::{
    CpuId, KVM_MAX_CPUID_ENTRIES, KVM_PIT_SPEAKER_DUMMY, kvm_mp_state, kvm_pit_config,
};
use kvm_ioctls::{Kvm, VcpuExit, VcpuFd, VmFd};
use vm_memory::GuestMemoryMmap;

use crate::boot;
use crate::bus::{Bus, Request};
use crate::memory;
use crate::virtio::{self, VirtioMmio};

/// The addresses and interrupts of COM1 and COM2. The others of a PC would share these interrupts.
pub const SERIAL_PORTS: [(u16, u32); 2] = [(0x3f8, 4), (0x2f8, 3)];
/// Three pages that Intel's processors need somewhere, above RAM.
const TSS: usize = 0xfffb_d000;

/// What a machine is made of.
#[derive(Clone, Debug)]
pub struct Config {
    /// The kernel's file.
    pub kernel: PathBuf,
    /// The initial RAM disk's file.
    pub initrd: Option<PathBuf>,
    /// The kernel's command line.
    pub append: String,
    /// Bytes of RAM.
    pub memory: u64,
    /// The chardevs of the serial ports, COM1 first.
    pub serial: Vec<String>,
    /// The chardevs of the virtio console's ports.
    pub virtio: Vec<(String, PortConfig)>,
}

impl Config {
    /// The kernel's command line, with what tells Linux of devices that it cannot find by itself.
    pub(crate) fn command_line(&self) -> String {
        if self.virtio.is_empty() {
            return self.append.clone();
        }
        let (size, address) = (virtio::SIZE >> 10, virtio::ADDRESS);
        format!(
            "{} virtio_mmio.device={size}K@{address:#x}:{}",
            self.append,
            virtio::IRQ
        )
    }
}

/// How a machine ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The guest switched it off, with a status.
    PoweredOff(u8),
    /// The host wanted it to end.
    Stopped,
}

/// A machine that can run.
pub struct Machine {
    config: Config,
    cpuid: CpuId,
    bus: Bus,
    vcpu: VcpuFd,
    memory: GuestMemoryMmap,
    _vm: Arc<VmFd>,
    stopped: Box<dyn Fn() -> bool + Send>,
}

impl Machine {
    /// Makes the machine and loads its kernel. `stopped` is asked after every exit of the guest
    /// whether to go on.
    ///
    /// # Errors
    /// What cannot be had, and what to do about it.
    pub fn new(
        config: &Config,
        chardevs: &Chardevs,
        stopped: impl Fn() -> bool + Send + 'static,
    ) -> Result<Self, DaemonError> {
        let kvm = Kvm::new().map_err(|error| {
            let text =
                format!("/dev/kvm: {error}; microvm needs KVM and permission to open /dev/kvm");
            DaemonError::new(text).because(error)
        })?;
        let failed = |what: &'static str| {
            move |error: kvm_ioctls::Error| DaemonError::of(format_args!("KVM {what}"), error)
        };
        let vm = kvm.create_vm().map_err(failed("cannot create a VM"))?;
        let memory = memory::create(&vm, config.memory)?;
        vm.set_tss_address(TSS).map_err(failed("TSS address"))?;
        vm.create_irq_chip()
            .map_err(failed("interrupt controllers"))?;
        let timer = kvm_pit_config {
            flags: KVM_PIT_SPEAKER_DUMMY,
            ..Default::default()
        };
        vm.create_pit2(timer).map_err(failed("timer"))?;
        let vm = Arc::new(vm);
        let bus = connect(config, chardevs, &vm, &memory)?;
        let vcpu = vm.create_vcpu(0).map_err(failed("cannot create a vCPU"))?;
        let cpuid = kvm
            .get_supported_cpuid(KVM_MAX_CPUID_ENTRIES)
            .map_err(failed("CPUID"))?;
        let machine = Machine {
            config: config.clone(),
            cpuid,
            bus,
            vcpu,
            memory,
            _vm: vm,
            stopped: Box::new(stopped),
        };
        machine
            .vcpu
            .set_cpuid2(&machine.cpuid)
            .map_err(failed("CPUID"))?;
        machine.load()?;
        Ok(machine)
    }

    /// Which of the virtio console's ports the guest opens and closes, if there are any.
    pub fn port_watch(&self) -> Option<PortWatch> {
        self.bus.port_watch()
    }

    /// Runs the guest to its end. A reset starts it again with its peers still connected.
    ///
    /// # Errors
    /// The vCPU cannot go on.
    pub fn run(&mut self) -> Result<Ended, DaemonError> {
        loop {
            if (self.stopped)() {
                return Ok(Ended::Stopped);
            }
            let request = match self.vcpu.run() {
                Ok(VcpuExit::IoOut(port, values)) => self.bus.write(port, values),
                Ok(VcpuExit::IoIn(port, values)) => {
                    self.bus.read(port, values);
                    Request::None
                }
                Ok(VcpuExit::MmioRead(address, data)) => {
                    self.bus.read_memory(address, data);
                    Request::None
                }
                Ok(VcpuExit::MmioWrite(address, data)) => {
                    self.bus.write_memory(address, data);
                    Request::None
                }
                Ok(VcpuExit::Intr | VcpuExit::Hlt) => Request::None,
                // Three faults in a row are how a guest without a keyboard controller resets.
                Ok(VcpuExit::Shutdown) => Request::Reset,
                Ok(exit) => {
                    let about = format!("{exit:?}");
                    return Err(self.explain(&about));
                }
                Err(error) if error.errno() == EINTR || error.errno() == EAGAIN => Request::None,
                Err(error) => return Err(self.explain(&error.to_string())),
            };
            match request {
                Request::None => {}
                Request::Reset => {
                    self.bus.reset();
                    self.load()?;
                }
                Request::PowerOff(status) => return Ok(Ended::PoweredOff(status)),
            }
        }
    }

    fn load(&self) -> Result<(), DaemonError> {
        let entry = boot::load(&self.config, &self.memory)?;
        boot::enter(&self.vcpu, entry)?;
        let running = kvm_mp_state { mp_state: 0 };
        self.vcpu
            .set_mp_state(running)
            .map_err(|error| DaemonError::of("the vCPU's state", error))
    }

    fn explain(&self, what: &str) -> DaemonError {
        let at = self.vcpu.get_regs().map_or(0, |registers| registers.rip);
        format!("the guest stopped at {at:#x}: {what}").into()
    }
}

/// Makes the devices.
fn connect(
    config: &Config,
    chardevs: &Chardevs,
    vm: &Arc<VmFd>,
    memory: &GuestMemoryMmap,
) -> Result<Bus, DaemonError> {
    // A line that cannot be set is a guest that polls; there is nobody to tell.
    let interrupt = |irq: u32| {
        let line = Arc::clone(vm);
        move |high: bool| {
            let _ = line.set_irq_line(irq, high);
        }
    };
    let mut bus = Bus::default();
    for (id, (base, irq)) in config.serial.iter().zip(SERIAL_PORTS) {
        let uart = SharedUart::start(chardevs, id, interrupt(irq))
            .map_err(|error| DaemonError::of(format_args!("-serial chardev:{id}"), error))?;
        bus.add_serial(base, uart);
    }
    if !config.virtio.is_empty() {
        let mut ports = Vec::new();
        for (id, port) in &config.virtio {
            let front = chardevs
                .front_end(id, Arc::new(()))
                .map_err(|error| DaemonError::of(format_args!("-virtio {id}"), error))?;
            ports.push((front, port.clone()));
        }
        let virtio = VirtioMmio::new(ports, memory.clone(), interrupt(virtio::IRQ))?;
        bus.set_virtio(virtio);
    }
    Ok(bus)
}

const EINTR: i32 = 4;
const EAGAIN: i32 = 11;
