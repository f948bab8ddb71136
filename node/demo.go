package node

import (
	"context"
	"crypto/rand"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/base/service"
	"github.com/bartizan-vms/bartizan/lab/camera"
	"github.com/bartizan-vms/bartizan/lab/clips"
	"github.com/bartizan-vms/bartizan/vms"
)

// scenes are the demo's cameras as people would name them.
var scenes = map[string]string{
	"gate": "Main gate", "lobby": "Lobby turnstiles", "parking": "Car park east", "dock": "Loading dock 2",
	"aisle": "Aisle 14", "perimeter": "North fence", "server": "Server room", "street": "Harbour street",
}

// demo runs the simulated cameras on loopback, with a new password at each
// start, and keeps their entries pointed at them. Without --demo their entries
// stay, switched off, with what they recorded.
func (n *Node) demo(cameras vms.Cameras) service.Runner {
	return service.Func(func(ctx context.Context) error {
		known, err := cameras.List(ctx)
		if err != nil {
			return err
		}
		byName := map[string]vms.CameraStatus{}
		for _, c := range known {
			if c.Demo {
				byName[c.Name] = c
			}
		}
		if !n.cfg.Demo {
			off := false
			for _, c := range byName {
				if c.Enabled {
					if _, err := cameras.Update(ctx, c.ID, vms.CameraPatch{Enabled: &off}); err != nil {
						return err
					}
				}
			}
			<-ctx.Done()
			return nil
		}
		var group service.Group
		pacer := camera.NewPacer(0)
		group.Add("pacer", pacer)
		password := rand.Text()
		var farm []*camera.Camera
		for _, name := range clips.Names() {
			c, err := camera.New(camera.Config{
				User: "demo", Password: password, NoUDP: true, Pacer: pacer, Instant: true,
				Main: camera.Stream{Clip: name, Quality: clips.Main},
			})
			if err != nil {
				return err
			}
			farm = append(farm, c)
			group.Add("camera "+name, c)
		}
		group.Add("entries", service.Func(func(ctx context.Context) error {
			for i, name := range clips.Names() {
				if farm[i].Addr() == "" {
					return nil // it could not start and tells so itself
				}
				if err := enter(ctx, cameras, byName, scenes[name], farm[i], password, i); err != nil {
					return err
				}
			}
			<-ctx.Done()
			return nil
		}))
		return group.Run(ctx)
	})
}

// besides marks a demo camera whose name an operator's camera bears.
const besides = " (demo)"

// enter adds a demo camera, or points its entry at where it is now.
func enter(ctx context.Context, cameras vms.Cameras, byName map[string]vms.CameraStatus, name string, c *camera.Camera, password string, at int) error {
	user, main, sub, on := "demo", c.MainURL(), c.SubURL(), true
	old, ok := byName[name]
	if !ok {
		old, ok = byName[name+besides]
	}
	if ok {
		_, err := cameras.Update(ctx, old.ID, vms.CameraPatch{MainURL: &main, SubURL: &sub, Username: &user, Password: &password, Enabled: &on})
		return err
	}
	added, err := cameras.Add(ctx, vms.NewCamera{Name: name, MainURL: main, SubURL: sub, Username: user, Password: password, Transport: vms.TransportTCP, Demo: true})
	if fault.Is(err, fault.Conflict) {
		added, err = cameras.Add(ctx, vms.NewCamera{Name: name + besides, MainURL: main, SubURL: sub, Username: user, Password: password, Transport: vms.TransportTCP, Demo: true})
	}
	if err != nil {
		return err
	}
	if added.Position != at {
		_, err = cameras.Update(ctx, added.ID, vms.CameraPatch{Position: &at})
	}
	return err
}
