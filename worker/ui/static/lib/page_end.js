// Keeps the end of the page on the screen while it grows, until somebody looks at what is above.

/** Pixels that the end may be below the screen. */
const NEAR = 48;

export class PageEnd {
  constructor() {
    this.isFollowed = true;
    this.top = 0;
    this.look = () => {
      const { scrollTop, clientHeight, scrollHeight } = document.documentElement;
      if (scrollHeight - scrollTop - clientHeight < NEAR) this.isFollowed = true;
      else if (scrollTop < this.top) this.isFollowed = false; // it may only have grown meanwhile
      this.top = scrollTop;
    };
    document.addEventListener("scroll", this.look, { passive: true });
  }

  /** The page has grown. */
  follow() {
    if (this.isFollowed) this.goThere();
  }

  goThere() {
    this.isFollowed = true;
    scrollTo(0, document.documentElement.scrollHeight);
  }

  stop() {
    document.removeEventListener("scroll", this.look);
  }
}
