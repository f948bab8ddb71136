// The shapes of /api/v1, as design/0002-http-api.md tells them.

export type Quality = 'main' | 'sub';
export type State = 'disabled' | 'connecting' | 'live' | 'down';

export interface Stream {
  quality: Quality;
  state: State;
  since?: string;
  cause?: string;
  message?: string;
  advice?: string;
  video?: string;
  audio?: string;
  codecs?: string;
  width?: number;
  height?: number;
  fps?: number;
  reorder?: number | boolean;
  audio_rate?: number;
  audio_channels?: number;
  bitrate?: number;
  secure?: boolean;
  transport?: string;
  clock_offset_ms?: number;
  lost_packets?: number;
  connects?: number;
  last_picture?: string;
  recording?: boolean;
  webrtc?: boolean;
  mse?: boolean;
}

export interface Status {
  state: State;
  since?: string;
  cause?: string;
  message?: string;
  advice?: string;
  streams?: Stream[] | null;
}

export interface RecordRule {
  main: boolean;
  sub: boolean;
  audio: boolean;
}

export interface Keep {
  days: number;
  max_bytes?: number;
}

export interface Camera {
  id: string;
  name: string;
  position?: number;
  enabled: boolean;
  demo?: boolean;
  main_url: string;
  sub_url?: string;
  username?: string;
  has_password?: boolean;
  transport?: string;
  pin?: string;
  record: RecordRule;
  keep: Keep;
  created?: string;
  status: Status;
}

export interface CameraEdit {
  name?: string;
  main_url?: string;
  sub_url?: string;
  username?: string;
  password?: string;
  transport?: string;
  pin?: string;
  record?: RecordRule;
  keep?: Keep;
  enabled?: boolean;
}

export interface Probe {
  url: string;
  video: string;
  audio?: string;
  codecs?: string;
  width: number;
  height: number;
  fps: number;
  bitrate?: number;
  key_every_ms?: number;
  reorder?: number | boolean;
  secure: boolean;
  cert_sha256?: string;
  cert_trusted?: boolean;
  transport?: string;
  clock_offset_ms?: number;
  still_mp4?: string;
  notes?: string[] | null;
}

export interface Span {
  from: string;
  to: string;
  bytes?: number;
  audio?: boolean;
}

export interface Hole {
  from: string;
  to: string;
  cause: string;
  message?: string;
}

export interface TimelineAnswer {
  camera: string;
  quality: Quality;
  from: string;
  to: string;
  spans: Span[] | null;
  holes: Hole[] | null;
}

export interface Session {
  user: string;
  role: string;
  via?: string;
  expires?: string;
  actions?: string[] | null;
}

export interface SessionInfo {
  id: string;
  created: string;
  seen?: string;
  expires: string;
  remote?: string;
  device?: string;
  current?: boolean;
}

export interface TokenInfo {
  id: string;
  name: string;
  created: string;
  expires: string;
  seen?: string;
  token?: string;
}

export interface StreamSecret {
  user: string;
  secret: string;
  port_rtsps?: number;
  port_rtsp?: number;
  example: string;
}

export interface Welcome {
  user: string;
  totp_uri: string;
  recovery_codes: string[];
  api_token?: string;
}

export interface StorageCamera {
  camera: string;
  name: string;
  bytes: number;
  bytes_per_day: number;
  oldest?: string;
  asked_days: number;
  holds_days: number;
}

export interface SystemInfo {
  version: string;
  started: string;
  now: string;
  demo: boolean;
  node: { cpu_seconds: number; rss_bytes: number; goroutines: number };
  storage: {
    path: string;
    total_bytes: number;
    free_bytes: number;
    used_bytes: number;
    bytes_per_day: number;
    warning?: string;
    cameras: StorageCamera[] | null;
  };
  errors: { at: string; where: string; message: string; count: number }[] | null;
  decoder: boolean;
  rtsps_port?: number;
}

export interface AuditEntry {
  seq: number;
  at: string;
  user?: string;
  via?: string;
  session?: string;
  remote?: string;
  device?: string;
  action: string;
  kind?: string;
  object?: string;
  outcome: string;
  rule?: string;
  detail?: string;
  before?: string;
  after?: string;
}
