// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package harness

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
)

// isolatedVariable is set in a process that Isolate has started again.
const isolatedVariable = "PENSTOCK_E2E_ISOLATED"

// Isolate starts the process again, under the same process id, in a network and a mount namespace of its own, and
// returns nil in the new one. All that is done to networks and mounts from then on is seen by this process and its
// children only, and the kernel undoes it when the last of them ends, however it ends. An error says why that is not
// possible here; nothing has changed then.
func Isolate() error {
	if os.Getenv(isolatedVariable) != "" {
		return becomeRouter()
	}
	if os.Geteuid() != 0 {
		return errors.New("network namespaces need root")
	}
	for _, program := range []string{"ip", "tc", "nsenter", "unshare"} {
		if _, err := exec.LookPath(program); err != nil {
			return fmt.Errorf("%s is not installed (apt-get install iproute2 util-linux)", program)
		}
	}
	// Namespaces belong to a thread, and exec keeps those of the thread that calls it.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := syscall.Unshare(syscall.CLONE_NEWNET | syscall.CLONE_NEWNS); err != nil {
		return fmt.Errorf("make namespaces: %w", err)
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	return syscall.Exec(self, os.Args, append(os.Environ(), isolatedVariable+"=1"))
}

// becomeRouter makes this process' namespaces fit to connect those of the hosts.
func becomeRouter() error {
	if err := syscall.Mount("none", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("keep mounts to ourselves: %w", err)
	}
	if err := ip("link", "set", "lo", "up"); err != nil {
		return err
	}
	if err := ip("addr", "add", RouterIP+"/32", "dev", "lo"); err != nil {
		return err
	}
	if err := os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0o644); err != nil {
		return fmt.Errorf("forward between the hosts: %w", err)
	}
	return nil
}

// mount mounts a tmpfs of the size of the disk on its directory.
func (d *Disk) mount() error {
	if err := os.MkdirAll(d.Dir, 0o755); err != nil {
		return err
	}
	return syscall.Mount("tmpfs", d.Dir, "tmpfs", 0, fmt.Sprintf("size=%d", d.size))
}

func (d *Disk) unmount() error { return syscall.Unmount(d.Dir, syscall.MNT_DETACH) }
