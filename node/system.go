package node

import (
	"context"
	"runtime"
	"time"

	"github.com/bartizan-vms/bartizan/api"
	"github.com/bartizan-vms/bartizan/engine/sqlite"
	"github.com/bartizan-vms/bartizan/vms"
)

// system tells how this node is.
func (n *Node) system(cameras vms.Cameras, store *sqlite.Cameras, archive vms.Archive, decoder bool) func(context.Context) (api.System, error) {
	return func(ctx context.Context) (api.System, error) {
		u, err := archive.Usage(ctx)
		if err != nil {
			return api.System{}, err
		}
		list, err := cameras.List(ctx)
		if err != nil {
			return api.System{}, err
		}
		gone, err := store.Removed(ctx)
		if err != nil {
			return api.System{}, err
		}
		names := make(map[vms.CameraID]string, len(list)+len(gone))
		for _, c := range gone {
			names[c.ID] = c.Name + " (removed)"
		}
		for _, c := range list {
			names[c.ID] = c.Name
		}
		cpu, rss := process()
		s := api.System{
			Version: n.version, Started: n.started.UTC(), Now: time.Now().UTC(), Demo: n.cfg.Demo, Decoder: decoder,
			Node:    api.NodeHealth{CPUSeconds: cpu.Seconds(), RSSBytes: rss, Goroutines: runtime.NumGoroutine()},
			Storage: api.StorageOf(u, names), Errors: []api.RecentError{}, RTSPSPort: n.rtspsPort,
		}
		for _, f := range n.journal.Faults() {
			s.Errors = append(s.Errors, api.RecentError{At: f.At.UTC(), Where: f.Where, Message: f.Message, Count: f.Count})
		}
		return s, nil
	}
}
