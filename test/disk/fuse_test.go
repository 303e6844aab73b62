package disk

import (
	"context"
	"os"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// faults are what a broken file system answers.
type faults struct{ write, fsync atomic.Int64 } // an errno each; 0 is none

// broken hands everything on to a folder, but for its faults.
type broken struct {
	*fs.LoopbackNode
	*faults
}

// WrapChild breaks what is below a broken folder, too.
func (n *broken) WrapChild(_ context.Context, child fs.InodeEmbedder) fs.InodeEmbedder {
	return &broken{child.(*fs.LoopbackNode), n.faults}
}

func (n *broken) Open(ctx context.Context, flags uint32) (fs.FileHandle, uint32, syscall.Errno) {
	f, fuseFlags, errno := n.LoopbackNode.Open(ctx, flags)
	return &brokenFile{f, n.faults}, fuseFlags, errno
}

func (n *broken) Create(ctx context.Context, name string, flags, mode uint32, out *fuse.EntryOut) (*fs.Inode, fs.FileHandle, uint32, syscall.Errno) {
	inode, f, fuseFlags, errno := n.LoopbackNode.Create(ctx, name, flags, mode, out)
	return inode, &brokenFile{f, n.faults}, fuseFlags, errno
}

type brokenFile struct {
	file fs.FileHandle
	*faults
}

func (f *brokenFile) Read(ctx context.Context, dest []byte, off int64) (fuse.ReadResult, syscall.Errno) {
	return f.file.(fs.FileReader).Read(ctx, dest, off)
}

func (f *brokenFile) Write(ctx context.Context, data []byte, off int64) (uint32, syscall.Errno) {
	if e := f.write.Load(); e != 0 {
		return 0, syscall.Errno(e)
	}
	return f.file.(fs.FileWriter).Write(ctx, data, off)
}

func (f *brokenFile) Fsync(ctx context.Context, flags uint32) syscall.Errno {
	if e := f.fsync.Load(); e != 0 {
		return syscall.Errno(e)
	}
	return f.file.(fs.FileFsyncer).Fsync(ctx, flags)
}

func (f *brokenFile) Flush(ctx context.Context) syscall.Errno {
	return f.file.(fs.FileFlusher).Flush(ctx)
}

func (f *brokenFile) Release(ctx context.Context) syscall.Errno {
	return f.file.(fs.FileReleaser).Release(ctx)
}

// mount mounts a file system that can be broken.
func mount(t *testing.T) (dir string, b *faults) {
	t.Helper()
	if _, err := os.Stat("/dev/fuse"); err != nil {
		t.Skip("needs FUSE:", err)
	}
	b = &faults{}
	root := &fs.LoopbackRoot{Path: t.TempDir()}
	top := &broken{&fs.LoopbackNode{RootData: root}, b}
	root.RootNode = top
	dir = t.TempDir()
	server, err := fs.Mount(dir, top, &fs.Options{MountOptions: fuse.MountOptions{DirectMount: true, FsName: "switchhook-test"}})
	if err != nil {
		t.Skip("needs the right to mount a file system:", err)
	}
	t.Cleanup(func() { _ = server.Unmount() })
	return dir, b
}

// Whatever fails, and on whichever file: writes, room, or the sync that a promise
// rests on.
func TestADiskThatFails(t *testing.T) {
	for _, c := range []struct {
		name, why string
		fault     func(*faults) *atomic.Int64
		errno     syscall.Errno
	}{
		{"Write", "the disk under the database fails", func(f *faults) *atomic.Int64 { return &f.write }, syscall.EIO},
		{"Fsync", "the disk under the database fails", func(f *faults) *atomic.Int64 { return &f.fsync }, syscall.EIO},
		{"Full", "the disk is full", func(f *faults) *atomic.Int64 { return &f.write }, syscall.ENOSPC},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir, b := mount(t)
			s := newSite(t, dir)
			for range 20 {
				s.send(100)
			}
			for range 2 {
				c.fault(b).Store(int64(c.errno))
				s.refuses(c.why)
				c.fault(b).Store(0)
				s.goesOn()
			}
		})
	}
}
