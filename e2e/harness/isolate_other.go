// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package harness

import "errors"

var errNotLinux = errors.New("namespaces are of Linux")

// Isolate is not possible here.
func Isolate() error { return errNotLinux }

func (d *Disk) mount() error   { return errNotLinux }
func (d *Disk) unmount() error { return errNotLinux }
