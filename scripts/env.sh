# Sourced, not run: puts ROS 2 and this package's install space on the paths of the shell.
# With ROS 2 already sourced (ROS_DISTRO set) that ROS is used; otherwise the wheels in .venv.
# Works in bash and zsh. Sets nothing but search paths and the rmw implementation.

_ep_root="$(cd "$(dirname "${BASH_SOURCE[0]:-$0}")/.." && pwd)"
_ep_install="$_ep_root/install/edge_perception"

_ep_prepend() {  # NAME VALUE: puts VALUE in front of the path list NAME, once
    eval "_ep_old=\"\${$1:-}\""
    case ":$_ep_old:" in
        *":$2:"*) ;;
        *) export "$1=$2${_ep_old:+:$_ep_old}" ;;
    esac
}

if [ -d "$_ep_root/.venv" ]; then
    export VIRTUAL_ENV="$_ep_root/.venv"
    _ep_prepend PATH "$VIRTUAL_ENV/bin"
    if [ -d "$VIRTUAL_ENV/share/rclpy" ]; then
        _ep_prepend AMENT_PREFIX_PATH "$VIRTUAL_ENV"
        _ep_prepend CMAKE_PREFIX_PATH "$VIRTUAL_ENV"
        _ep_prepend LD_LIBRARY_PATH "$VIRTUAL_ENV/lib"
        export ROS_DISTRO=jazzy ROS_VERSION=2 ROS_PYTHON_VERSION=3
        export RMW_IMPLEMENTATION="${RMW_IMPLEMENTATION:-rmw_fastrtps_cpp}"
    fi
fi
if [ -d "$_ep_install" ]; then
    _ep_prepend AMENT_PREFIX_PATH "$_ep_install"
    _ep_prepend CMAKE_PREFIX_PATH "$_ep_install"
    _ep_prepend LD_LIBRARY_PATH "$_ep_install/lib"
    # Debian's Python 3.10 installs below local/lib/…/dist-packages.
    for _ep_site in $(find "$_ep_install" -maxdepth 5 -name "*-packages" -type d); do
        _ep_prepend PYTHONPATH "$_ep_site"
    done
    _ep_prepend PATH "$_ep_install/lib/edge_perception"
fi
unset -f _ep_prepend
unset _ep_root _ep_install _ep_old _ep_site
