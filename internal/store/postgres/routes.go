package postgres

import "sync"

// routeCache remembers where events belong. What it says of a project holds while
// the project's row names the same change of its routing as then: every transaction
// that routes asks for that, under the project's lock, so a change through another
// node is obeyed by the very next event, as if nothing had been remembered.
type routeCache struct {
	mu       sync.Mutex
	projects map[string]*routing
}

// routing is what is remembered of a project. It is not changed once others see it.
type routing struct {
	change int64 // the project's last one when this was read
	routes map[routeKey]*route
}

// maxRoutes bounds what is remembered of one project, and maxRouted of how many.
const (
	maxRoutes = 20_000
	maxRouted = 1_000
)

// get returns what is remembered of a project, which may be nothing.
func (c *routeCache) get(projectID string) *routing {
	c.mu.Lock()
	defer c.mu.Unlock()
	if r := c.projects[projectID]; r != nil {
		return r
	}
	return &routing{}
}

// add remembers what was read when a project's routing was at a change: beside what
// was remembered, where that was of the same. Only what led somewhere is: whatever
// others ask for must not fill the memory.
func (c *routeCache) add(projectID string, change int64, read map[routeKey]*route) {
	c.mu.Lock()
	defer c.mu.Unlock()
	next := &routing{change, map[routeKey]*route{}}
	if old := c.projects[projectID]; old != nil && old.change == change && len(old.routes)+len(read) <= maxRoutes {
		for k, r := range old.routes {
			next.routes[k] = r
		}
	}
	for k, r := range read {
		if r.numberID != "" && r.agentKnown {
			next.routes[k] = r
		}
	}
	if c.projects == nil || len(c.projects) >= maxRouted && c.projects[projectID] == nil {
		c.projects = map[string]*routing{}
	}
	c.projects[projectID] = next
}

// forget drops everything: another database may answer from now on.
func (c *routeCache) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.projects = nil
}
