package pgtest

import "errors"

// New is Start for a program that is no test. The cluster must be closed.
func New(o Options) (*Cluster, error) {
	bin := binDir()
	if bin == "" {
		return nil, errors.New("PostgreSQL is not installed: install it (Debian: apt-get install postgresql)")
	}
	return create(bin, o)
}

// Close ends a cluster of New and removes all of it.
func (c *Cluster) Close() { c.remove() }

// Create makes a database, and returns its URL.
func (c *Cluster) Create(name string) (string, error) {
	return c.URL(name), c.exec("CREATE DATABASE " + name)
}

// PID is the server's first process, the parent of all its others.
func (c *Cluster) PID() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.server.cmd.Process.Pid
}
